"""Requests that end when their client has gone: `with aborted_when_client_goes(environ): ...`."""

from collections.abc import MutableMapping
from types import TracebackType
from typing import Any

from gevent import getcurrent

from wsgiapp.errors import Cancelled

# In `environ`: the greenlets that may be aborted, each with its client's socket, and the socket of this request's.
# Servers other than the built-in one do not say it, and abort nothing.
CLIENT_KEY = "wsgiapp.client"

GONE = "the client closed its connection before the answer was ready"

Abortable = MutableMapping[Any, Any]


class ClientGone(BaseException):
    """Raised where a greenlet waits whose client has closed its connection.

    As with `GreenletExit`, no `except Exception` on the way takes it for a failure that could be tried again.
    """


class aborted_when_client_goes:  # noqa: N801 (read as a sentence after `with`)
    """A context in which `ClientGone` may be raised wherever the greenlet waits; leaving it, that becomes `Cancelled`.

    For what only reads: a change of what is loaded goes on to its end.
    """

    __slots__ = ("_client",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self._client: tuple[Abortable, Any] | None = environ.get(CLIENT_KEY)

    def __enter__(self) -> None:
        if self._client is not None:
            abortable, connection = self._client
            abortable[getcurrent()] = connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client[0].pop(getcurrent(), None)
        if kind is ClientGone:
            raise Cancelled(GONE) from error
