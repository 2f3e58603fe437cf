"""`Chunks`: a body in chunks (RFC 9112, 7.1), as strictly as a chunk's size, extensions and trailers can be read."""

import re
from collections.abc import Callable
from typing import Any

from wsgiapp.web.turns import give_way

# What is not a line in CRLF, or holds a bare CR or another control character, two recipients read in two ways.
TEXT = rb"[\t \x21-\x7e\x80-\xff]*"
SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;" + TEXT + rb")?\r\n")
TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:" + TEXT + rb"\r\n")
MAX_LINE_BYTES = 4096
MAX_TRAILERS = 100
# Bytes that chunks may have beside their data: Go's limit (CVE-2023-39326). A chunk is forgiven its own size and these.
MAX_OVERHEAD_BYTES, FREE_OVERHEAD_BYTES = 16 * 1024, 16
# Beyond the first so many, chunks have these bytes on average: taking one costs 3 us, whatever is in it.
SMALL_CHUNKS, MIN_CHUNK_BYTES = 10_000, 16
CHUNKS_AT_ONCE = 1000  # then others have their turn
PIECE_BYTES = 256 * 1024


class Chunks:
    """Reads `stream` as far as the body goes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = 0  # bytes of the chunk
        self._count = self._bytes = self._overhead = 0
        self._ended = False

    def read(self, size: int | None, take: Callable[[int], bytes]) -> bytes:
        """At most so many bytes, fewer only at the end; all without a size. Raises `OSError`.

        `take` reads so many of the stream's, and raises `OSError` where it ends before.
        """
        pieces: list[bytes] = []
        wanted = size
        while wanted is None or wanted > 0:
            if not self._left and not self._next():
                break
            length = min(self._left, PIECE_BYTES if wanted is None else min(wanted, PIECE_BYTES))
            pieces.append(self._took(take(length)))
            if wanted is not None:
                wanted -= length
        return b"".join(pieces)

    def readline(self, size: int | None) -> bytes:
        """A line, or the start of a longer one. Raises `OSError`."""
        line = b""
        while not line.endswith(b"\n") and (size is None or len(line) < size):
            if not self._left and not self._next():
                break
            piece = self._stream.readline(self._left if size is None else min(self._left, size - len(line)))
            if not piece:
                raise OSError("the body ends within a chunk")
            line += self._took(piece)
        return line

    def _took(self, data: bytes) -> bytes:
        self._left -= len(data)
        self._bytes += len(data)
        if not self._left and self._stream.read(2) != b"\r\n":
            raise OSError("a chunk that is longer than its size")
        return data

    def _next(self) -> bool:
        """Begin the next chunk; false after the last one."""
        if self._ended:
            return False
        line = self._stream.readline(MAX_LINE_BYTES)
        match = SIZE.fullmatch(line)
        if match is None:
            raise OSError("a chunk without a valid size")
        self._left = int(match[1], 16)
        self._count += 1
        self._overhead = max(0, self._overhead + len(line) - FREE_OVERHEAD_BYTES - 2 * self._left)
        if self._overhead > MAX_OVERHEAD_BYTES:
            raise OSError("chunk extensions beyond the limit")
        if self._count > SMALL_CHUNKS and self._bytes < MIN_CHUNK_BYTES * self._count:
            raise OSError("too many small chunks")
        if self._count % CHUNKS_AT_ONCE == 0:
            give_way()
        if not self._left:
            self._skip_trailers()
            self._ended = True
        return not self._ended

    def _skip_trailers(self) -> None:
        for _ in range(MAX_TRAILERS + 1):
            line = self._stream.readline(MAX_LINE_BYTES)
            if line == b"\r\n":
                return
            if not TRAILER.fullmatch(line):
                raise OSError("a malformed trailer field")
        raise OSError("too many trailer fields")
