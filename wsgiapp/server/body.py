"""`Body`: the body of a request, as the application reads it."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from gevent import pywsgi

from wsgiapp.server.chunks import Chunks
from wsgiapp.web.turns import give_way

PIECE_BYTES = 256 * 1024
# Of a body that nobody wants; a longer one costs the client its connection.
MAX_DISCARDED_BYTES = 64 * 2**20
DISCARDED_AT_ONCE_BYTES = 2**20


class BodyLimits(Protocol):
    """How long a body may take: `body_seconds`, and one more for each `body_bytes_per_second` that have come."""

    body_seconds: float
    body_bytes_per_second: float
    bodies: dict[Any, None]  # those that are waited for; the server looks after them


class Connection(Protocol):
    """What a body sees of its connection."""

    rfile: Any
    socket: Any
    timed_out: bool

    def end_of_requests(self) -> None:
        """Let whoever reads meet the end of file."""


class Body(pywsgi.Input):
    """A request's body, which may end too early: then it is unknown where the next request begins."""

    is_broken = False

    def __init__(
        self, connection: Connection, limits: BodyLimits, length: int | None, *, chunked: bool, expects: bool
    ) -> None:
        """`expects`: the client waits to be told to go on."""
        super().__init__(connection.rfile, length, connection.socket if expects else None, chunked)
        self.deadline = 0.0  # of `time.monotonic()`, from the first look at it
        self._connection = connection
        self._limits = limits
        self._chunks = Chunks(connection.rfile) if chunked else None

    def read(self, length: int | None = None) -> bytes:
        """As any stream's. Raises `OSError` for a client that has gone or is too slow, and for what is not chunked."""
        return self._read(self._do_read if self._chunks is None else self._chunked_read, length)

    def readline(self, size: int | None = None) -> bytes:
        """See `read`."""
        return self._read(self._do_readline if self._chunks is None else self._chunked_readline, size)

    def time_out(self) -> None:
        """The client was too slow: whoever reads gets `TimeoutError`."""
        self._connection.timed_out = True
        self._connection.end_of_requests()

    def discard(self) -> None:
        """Read what is left of it, where that is not too much. Raises `OSError`."""
        if self.is_broken or (self._chunks is None and self.position >= (self.content_length or 0)):
            return
        self.send_100_continue_enabled = False
        for _ in range(MAX_DISCARDED_BYTES // DISCARDED_AT_ONCE_BYTES):
            if len(self.read(DISCARDED_AT_ONCE_BYTES)) < DISCARDED_AT_ONCE_BYTES:
                return
            give_way()
        self.is_broken = True

    def _read(self, reader: Callable[[int | None], bytes], size: int | None) -> bytes:
        if size is not None and size < 0:
            size = None
        if not self.deadline:
            self.deadline = time.monotonic() + self._limits.body_seconds
        self._limits.bodies[self] = None
        try:
            return reader(size)
        except OSError as exc:
            self.is_broken = True
            if self._connection.timed_out:
                raise TimeoutError("the body did not arrive in time") from exc
            raise
        finally:
            self._limits.bodies.pop(self, None)

    def _do_read(self, length: int | None = None, use_readline: bool = False) -> bytes:
        left = (self.content_length or 0) - self.position
        wanted = left if length is None else min(left, length)
        if wanted <= 0:
            return b""
        self._send_100_continue()
        data = self._take(wanted)
        self.position += len(data)
        return data

    def _do_readline(self, size: int | None) -> bytes:
        left = (self.content_length or 0) - self.position
        wanted = left if size is None else min(left, size)
        if wanted <= 0:
            return b""
        self._send_100_continue()
        data: bytes = self.rfile.readline(wanted)
        if len(data) < wanted and not data.endswith(b"\n"):
            raise OSError("the body ends too early")
        self.position += len(data)
        return data

    def _chunked_read(self, length: int | None = None, use_readline: bool = False) -> bytes:
        if self._chunks is None:
            return b""
        self._send_100_continue()
        return self._chunks.read(length, self._take)

    def _chunked_readline(self, size: int | None) -> bytes:
        if self._chunks is None:
            return b""
        self._send_100_continue()
        return self._chunks.readline(size)

    def _take(self, size: int) -> bytes:
        """So many bytes, in pieces as they come: the deadline moves on with each."""
        data: bytes = self.rfile.read1(min(size, PIECE_BYTES))
        if len(data) == size:
            return data
        pieces, received = [data], len(data)
        while received < size:
            if not data:
                raise OSError("the body ends too early")
            self.deadline += len(data) / self._limits.body_bytes_per_second
            data = self.rfile.read1(min(size - received, PIECE_BYTES))
            pieces.append(data)
            received += len(data)
        return b"".join(pieces)
