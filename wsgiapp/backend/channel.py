"""`Channel`: calls of one request and one answer to a gRPC server, over one connection that lasts.

See "gRPC over HTTP2" in gRPC's documentation. It is written here rather than taken from grpcio, because grpcio waits on
native threads, which under gevent cost a hand-over there and one back (measured, one call at a time: 0.4 ms of CPU
instead of 0.15).
"""

import math
import socket
import time
from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import unquote

import gevent
from gevent import socket as gevent_socket
from gevent.monkey import get_original

from wsgiapp import __version__
from wsgiapp.backend.http2.connection import Connection
from wsgiapp.backend.http2.errors import ConnectionLost, MessageTooLarge, RequestNotProcessed, StreamReset
from wsgiapp.backend.http2.frames import encode_fields
from wsgiapp.backend.http2.stream import Answer

# Between an attempt to connect and the next one. Calls in between fail at once where it failed, or did not last.
RECONNECT_PAUSE_SECONDS = 0.1
# For an attempt, however long its callers have.
CONNECT_SECONDS = 20.0
MAX_TIMEOUT_MILLISECONDS = 99_999_999
UNIX = "unix:"
NO_ANSWER = "no answer before the deadline"


class Code(IntEnum):
    """gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


CODE_BY_STATUS: Mapping[str, Code] = {str(code.value): code for code in Code}
# The HTTP status, where a proxy or another kind of server answers (gRPC's "HTTP to gRPC Status Code Mapping").
CODE_BY_HTTP_STATUS: Mapping[str, Code] = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}
# HTTP/2's error codes that are not INTERNAL ("HTTP2 Transport Mapping" in gRPC's documentation). REFUSED_STREAM is
# tried again.
CODE_BY_RESET: Mapping[int, Code] = {
    0x8: Code.CANCELLED,
    0xB: Code.RESOURCE_EXHAUSTED,
    0xC: Code.PERMISSION_DENIED,
}


class CallError(Exception):
    """A call that ended with another code than OK; `details` is the status message.

    `is_answer`: the server sent the code itself; otherwise no server was reached, or its answer was lost.
    """

    def __init__(self, code: Code, details: str, *, is_answer: bool = False) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details
        self.is_answer = is_answer


class Channel:
    """Calls `address` (host:port, or unix:/path) with messages of `max_message_bytes` at most, either way.

    The greenlets of a thread share one connection; it is made when it is first needed, and again after it broke.
    """

    def __init__(self, address: str, max_message_bytes: int) -> None:
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._closed = False
        # Of native threads, each of which has a loop, also where gevent has made greenlets of the others.
        self._local = get_original("threading", "local")()
        self._fields: dict[str, bytes] = {}  # of each method, as they are sent

    def call(self, method: str, message: bytes, deadline: float) -> bytes:
        """The message that answers; `method` is "/package.Service/Method".

        `deadline` is a point of `time.monotonic()`. Raises `CallError`.
        """
        if len(message) > self._max_message_bytes:
            text = f"the request has {len(message)} bytes, more than the limit of {self._max_message_bytes}"
            raise CallError(Code.RESOURCE_EXHAUSTED, text)
        try:
            answer = self._answer(method, message, deadline)
        except TimeoutError:
            raise CallError(Code.DEADLINE_EXCEEDED, NO_ANSWER) from None
        except ConnectionLost as exc:
            address = "" if str(exc).startswith(self._address) else f"{self._address}: "
            raise CallError(Code.CANCELLED if self._closed else Code.UNAVAILABLE, f"{address}{exc}") from exc
        except StreamReset as exc:
            if time.monotonic() >= deadline:  # the server's clock was quicker
                raise CallError(Code.DEADLINE_EXCEEDED, NO_ANSWER) from exc
            raise CallError(CODE_BY_RESET.get(exc.code, Code.INTERNAL), str(exc)) from exc
        except MessageTooLarge as exc:
            raise CallError(Code.RESOURCE_EXHAUSTED, f"the answer has {exc}") from exc
        status = answer.trailers.get("grpc-status", "")
        if status != "0":
            raise _error(status, answer.trailers.get("grpc-message", ""), answer.headers.get(":status", ""))
        return _message(answer.body)

    def _answer(self, method: str, message: bytes, deadline: float) -> Answer:
        """The first connection that serves the call answers; between two of them lies `RECONNECT_PAUSE_SECONDS`."""
        while True:
            connection = self._link().connection(deadline)
            remaining = min(1000 * (deadline - time.monotonic()), MAX_TIMEOUT_MILLISECONDS)
            timeout = encode_fields({"grpc-timeout": f"{max(math.ceil(remaining), 1)}m"})
            prefix = b"\0" + len(message).to_bytes(4, "big")
            try:
                return connection.request(self._head(method) + timeout, (prefix, message), deadline)
            except RequestNotProcessed:
                continue

    def close(self) -> None:
        """Close the connection of the thread's greenlets; calls under way end as `CANCELLED`, and so do later ones.

        Other threads' calls go on to their end, and their connections end with the threads: only a connection's own
        thread may touch it.
        """
        self._closed = True
        link = getattr(self._local, "link", None)
        if link is not None:
            link.close()

    def _link(self) -> "_Link":
        if self._closed:
            raise ConnectionLost("the channel is closed")
        link: _Link | None = getattr(self._local, "link", None)
        if link is None:
            link = self._local.link = _Link(self._address, self._max_message_bytes)
        return link

    def _head(self, method: str) -> bytes:
        """The header block of a method's calls, but for the timeout, which may stand at its end."""
        head = self._fields.get(method)
        if head is None:
            is_unix = self._address.startswith(UNIX)
            fields = {
                ":method": "POST",
                ":scheme": "http",
                ":path": method,
                ":authority": "localhost" if is_unix else self._address,
                "te": "trailers",
                "content-type": "application/grpc",
                "user-agent": f"wsgiapp/{__version__}",
            }
            head = self._fields[method] = encode_fields(fields)
        return head


class _Link:
    """The connection of one thread's event loop, for as long as the thread lives."""

    def __init__(self, address: str, max_message_bytes: int) -> None:
        self._address = address
        self._max_message_bytes = max_message_bytes
        self._connection: Connection | None = None
        self._attempt: gevent.Greenlet | None = None  # to connect; it outlives a caller whose deadline passes
        self._not_before = 0.0
        self._failure = ""

    def connection(self, deadline: float) -> Connection:
        """The connection, made where there is none. Raises `ConnectionLost` where it cannot be, and `TimeoutError`."""
        if self._connection is None or not self._connection.takes_requests:
            if self._attempt is None and time.monotonic() >= self._not_before:
                self._attempt = gevent.spawn(self._connect)
            if self._attempt is not None:
                self._attempt.join(max(0.0, deadline - time.monotonic()))
            if self._attempt is not None:
                raise TimeoutError
            if self._connection is None:
                raise ConnectionLost(self._failure)
        return self._connection

    def close(self) -> None:
        if self._attempt is not None:
            self._attempt.kill(block=False)
            self._attempt, self._failure = None, "the connection was closed"
        if self._connection is not None:
            self._connection.close()

    __del__ = close  # with its thread

    def _connect(self) -> None:
        self._connection = None
        try:
            self._connection = Connection(_connected(self._address), self._max_message_bytes + 5)
        except (OSError, ValueError) as exc:  # the latter for what cannot be a host's name
            self._failure = f"{self._address}: {getattr(exc, 'strerror', None) or exc}"
        finally:
            self._not_before = time.monotonic() + RECONNECT_PAUSE_SECONDS
            self._attempt = None


def _connected(address: str) -> socket.socket:
    """A socket; the loop turns meanwhile. Raises `OSError`, or `ValueError` for what is no address."""
    with gevent.Timeout(CONNECT_SECONDS, False):
        if address.startswith(UNIX):
            made = gevent_socket.socket(socket.AF_UNIX)
            try:
                made.connect(address.removeprefix(UNIX))
            except BaseException:
                made.close()
                raise
        else:
            host, _, port = address.rpartition(":")
            made = gevent_socket.create_connection((host.strip("[]"), int(port)))
        return get_original("socket", "socket")(fileno=made.detach())
    raise TimeoutError(f"no connection within {CONNECT_SECONDS:.0f} s")


def _error(status: str, text: str, http_status: str) -> CallError:
    if status in CODE_BY_STATUS:
        return CallError(CODE_BY_STATUS[status], unquote(text), is_answer=True)
    if status or http_status == "200":
        return CallError(Code.UNKNOWN, f"the server ended the call with the status {status!r}")
    code = CODE_BY_HTTP_STATUS.get(http_status, Code.UNKNOWN)
    return CallError(code, f"the server answered HTTP {http_status}: not a gRPC server")


def _message(body: bytes) -> bytes:
    """Without the five bytes in front of it: whether it is compressed, and its size."""
    if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise CallError(Code.INTERNAL, "the server's answer is not one message")
    if body[0]:
        raise CallError(Code.INTERNAL, "the server's answer is compressed, which it was not allowed to be")
    return body[5:]
