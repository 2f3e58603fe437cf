"""What a call to the model server can end with."""

import grpc

from wsgiapp.errors import WsgiappError


class ServingError(WsgiappError):
    """Ends a call with a gRPC status; the texts are TF Serving's, because clients match on them."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
