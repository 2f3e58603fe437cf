"""HTTP/1 as clients send it, HTTP/2 as model servers do."""

from __future__ import annotations

import io
import re
import socket
import time

import gevent

from fuzz.targets.target import Target, WrongResult
from wsgiapp.backend.http2.connection import Connection
from wsgiapp.backend.http2.errors import Http2Error
from wsgiapp.backend.http2.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encode_fields,
)
from wsgiapp.server.request_head import MalformedRequest, read_head

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
MAX_MESSAGE_BYTES = 64 * 1024
SECONDS = 10.0


def _request_head(data: bytes) -> None:
    source = io.BytesIO(data)
    try:
        variables = read_head(source.readline(), source.readline)
    except MalformedRequest as exc:
        if exc.status not in (400, 431, 501, 505):
            raise WrongResult(f"{data!r}: status {exc.status}") from exc
        return
    for name, value in variables.items():
        if name.startswith("HTTP_") and CONTROL.search(value):
            raise WrongResult(f"{data!r}: a control character in {name}")
    if "CONTENT_LENGTH" in variables and "HTTP_TRANSFER_ENCODING" in variables:
        raise WrongResult(f"{data!r}: two lengths of one body")


def _http2(data: bytes) -> None:
    """A server that says this and closes: the call ends, and nothing is left of it."""
    near, far = socket.socketpair()
    connection = Connection(near, MAX_MESSAGE_BYTES)
    call = gevent.spawn(_ask, connection)
    gevent.sleep(0)
    try:
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        call.join(SECONDS)
        if not call.ready():
            raise WrongResult(f"{data!r}: the call hangs")
        if call.exception:
            raise call.exception
    except OSError:
        call.join(SECONDS)  # closed by the client before all was said
    finally:
        call.kill()
        connection.close("the end")
        far.close()


def _ask(connection: Connection) -> None:
    try:
        answer = connection.request(FIELDS, [b"request"], time.monotonic() + SECONDS)
    except (Http2Error, TimeoutError):
        return
    if len(answer.body) > MAX_MESSAGE_BYTES:
        raise WrongResult(f"a body of {len(answer.body)} bytes")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


FIELDS = encode_fields({":method": "POST", ":path": "/x"})
GREETING = _frame(SETTINGS, 0, 0) + _frame(SETTINGS, ACK, 0)
OK = _frame(HEADERS, END_HEADERS, 1, encode_fields({":status": "200"}))
BODY = _frame(DATA, 0, 1, b"\0\0\0\0\x02ab")
TRAILERS = _frame(HEADERS, END_HEADERS | END_STREAM, 1, encode_fields({"grpc-status": "0"}))
TARGETS = (
    Target(
        "request_head",
        _request_head,
        (
            b"GET /lstm/predict?line=YQ HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
            b"POST http://a/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.0\nContent-Length: 3\nX-Forwarded-For: 1.2.3.4\n\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        ),
    ),
    Target(
        "http2",
        _http2,
        (
            GREETING + OK + BODY + TRAILERS,
            GREETING + _frame(PING, 0, 0, b"12345678") + _frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01") + OK + TRAILERS,
            GREETING + OK + BODY + _frame(RST_STREAM, 0, 1, b"\0\0\0\x07"),
            GREETING + _frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\x00") + _frame(HEADERS, 0, 1, b"\x88"),
        ),
    ),
)
