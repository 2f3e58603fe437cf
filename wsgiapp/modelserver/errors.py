"""The error with which a call to the model server, or the load of a version, ends."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from wsgiapp.errors import WsgiappError

log = logging.getLogger(__name__)


class ServingError(WsgiappError):
    """Ends a call with a gRPC status, or a load with an error status.

    The texts are TF Serving's, because clients match on them (`tfserving.texts`); advice may follow them.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid_argument(message: str) -> ServingError:
    """The error of a request that would fail again if it were repeated."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


@contextmanager
def aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status of a `ServingError`; with INTERNAL, and a trace in the log, for anything else."""
    try:
        yield
    except ServingError as exc:
        context.abort(exc.code, str(exc))
    except Exception as exc:
        log.exception("a call failed")
        context.abort(grpc.StatusCode.INTERNAL, f"the model server failed ({type(exc).__name__}); its log says why")
