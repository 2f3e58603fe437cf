"""What a call to the model server, or the load of a version, can end with."""

import grpc

from wsgiapp.errors import WsgiappError


class ServingError(WsgiappError):
    """Ends a call with a gRPC status, or a load with an error status.

    The texts are TF Serving's, because clients match on them; more may follow them.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid_argument(message: str) -> ServingError:
    """The error of a request that no retry can help."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
