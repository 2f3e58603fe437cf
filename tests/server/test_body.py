"""The body of a request as applications read it: by bytes, by lines, in chunks or of known size."""

import io
import socket
from typing import Any

import pytest

from wsgiapp.server import body as module
from wsgiapp.server.body import Body
from wsgiapp.server.chunks import MAX_OVERHEAD_BYTES


class Connection:
    def __init__(self, sent: bytes) -> None:
        self.rfile: Any = io.BufferedReader(io.BytesIO(sent))  # type: ignore[arg-type]
        self.socket, self.far = socket.socketpair()
        self.timed_out = False

    def end_of_requests(self) -> None:
        self.rfile = io.BufferedReader(io.BytesIO())  # type: ignore[arg-type]


class Limits:
    body_seconds, body_bytes_per_second = 1.0, 1.0

    def __init__(self) -> None:
        self.bodies: dict[Any, None] = {}


LINES = [b"one\n", b"\n", b"a longer one\n", b"the last"]
WHOLE = b"".join(LINES)
CHUNKED = b'3\r\none\r\n2;x\r\n\n\n\r\n9 ; y="z"\r\na longer \r\nC\r\none\nthe last\r\n0\r\nA: b\r\n\r\n'


def made(sent: bytes, length: int | None, **more: Any) -> Body:
    return Body(Connection(sent), Limits(), length, chunked=length is None, expects=more.get("expects", False))


@pytest.fixture(params=["sized", "chunked"])
def read_body(request: pytest.FixtureRequest) -> Body:
    return made(WHOLE + b"NEXT", len(WHOLE)) if request.param == "sized" else made(CHUNKED + b"NEXT", None)


def test_all_at_once(read_body: Body) -> None:
    assert (read_body.read(), read_body.read(), read_body.read(5)) == (WHOLE, b"", b"")
    assert read_body.rfile.read() == b"NEXT"


def test_line_by_line(read_body: Body) -> None:
    assert list(read_body) == LINES
    assert read_body.readline() == b""
    assert read_body.rfile.read() == b"NEXT"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_some_at_a_time(read_body: Body, size: int) -> None:
    pieces = list(iter(lambda: read_body.read(size), b""))
    assert b"".join(pieces) == WHOLE
    assert {len(piece) for piece in pieces[:-1]} <= {size}


def test_parts_of_lines(read_body: Body) -> None:
    assert [read_body.readline(2), read_body.readline(2), read_body.read(3), read_body.readline(-1)] == [
        b"on", b"e\n", b"\na ", b"longer one\n",
    ]  # fmt: skip
    read_body.discard()
    assert read_body.rfile.read() == b"NEXT" and not read_body.is_broken


@pytest.mark.parametrize("length", [len(WHOLE) + 1, 10**17])
def test_one_that_ends_too_early(length: int) -> None:
    for read in (Body.read, Body.readlines, Body.discard):
        broken = made(WHOLE, length)
        with pytest.raises(OSError, match="ends too early"):
            read(broken)
        assert broken.is_broken


def test_one_in_chunks_that_ends_too_early() -> None:
    for end in range(1, len(CHUNKED)):
        broken = made(CHUNKED[:end], None)
        with pytest.raises(OSError, match=r"body|chunk|trailer"):
            broken.read()
        assert broken.is_broken


def test_a_client_that_waits_is_told_once() -> None:
    for sent, length in ((WHOLE, len(WHOLE)), (CHUNKED, None)):
        waited = made(sent, length, expects=True)
        assert waited.readline() + waited.read() == WHOLE
        assert waited._connection.far.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"  # type: ignore[attr-defined]


def test_what_is_discarded_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DISCARDED_BYTES", 2 * module.DISCARDED_AT_ONCE_BYTES)
    endless = made(bytes(4 * module.DISCARDED_AT_ONCE_BYTES), 10**15)
    endless.discard()
    assert endless.is_broken


def test_extensions_are_bounded_by_the_data() -> None:
    """As in Go: what comes beside the data is in proportion to it."""
    extension = b";" + b"e" * 1000
    for data, fits in ((b"x", False), (b"x" * 600, True)):
        chunks = (b"%x%s\r\n%s\r\n" % (len(data), extension, data)) * (MAX_OVERHEAD_BYTES // 1000 + 2)
        sent = made(chunks + b"0\r\n\r\n", None)
        if fits:
            assert set(sent.read()) == {ord("x")}
        else:
            with pytest.raises(OSError, match="extensions"):
                sent.read()
