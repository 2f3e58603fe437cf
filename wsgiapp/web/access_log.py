"""WSGI middleware: the access log."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from wsgiapp.web.request import LOG_KEY, client_address, request_id
from wsgiapp.web.response import json_bytes

SUBJECT = "HTTP_X_CLIENT_SUBJECT"  # of the client's certificate, which Nginx has verified
# Of a line that is longer, each text is cut: clients choose paths, names and addresses, and a few requests with long
# ones would push everybody else's out of the log that is kept.
MAX_LINE_BYTES = 2048
MAX_TEXT_CHARS = 256

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Stream(Protocol):
    """What takes a log's lines; waits for nobody."""

    def write(self, line: bytes, /) -> Any: ...


def log_access(wsgi_app: WSGIApplication, stream: Stream) -> WSGIApplication:
    """Write one JSON line a request: who asked what, the answer's status and bytes, the milliseconds it took.

    Much of that the application has noted. The line goes straight to `stream`: by way of `logging` it took 100 us.
    """

    def with_access_log(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()
        body = wsgi_app(environ, start_response)
        with suppress(OSError):  # whoever reads the log may have gone; that must not fail requests
            stream.write(access_line(environ, time.perf_counter() - started))
        return body

    return with_access_log


def dropped_lines(count: int) -> bytes:
    """The line that stands where so many were dropped."""
    return json_bytes({"time": round(time.time(), 3), "dropped_lines": count})


def access_line(environ: dict[str, Any], seconds: float) -> bytes:
    """The line of a request that took so long."""
    facts: dict[str, Any] = {
        "time": round(time.time(), 3),
        "request_id": request_id(environ),
        "client": client_address(environ),
        "method": environ.get("REQUEST_METHOD", ""),
        "path": environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
        "ms": round(seconds * 1000, 3),
        **environ.get(LOG_KEY, {}),
    }
    if SUBJECT in environ and not environ.get("REMOTE_ADDR"):  # by TCP it would be the client's own word
        facts["subject"] = environ[SUBJECT]
    line = json_bytes(facts)
    if len(line) <= MAX_LINE_BYTES:
        return line
    return json_bytes({name: _bounded(value) if isinstance(value, str) else value for name, value in facts.items()})


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}... ({len(text)} characters)"
