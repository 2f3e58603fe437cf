"""The worker's server and handler around an application that answers what it was sent: `python echo_server.py PORT`.

`/echo` answers the environment and the body as JSON; `/ignore` reads no body; `/large?N` answers N bytes in pieces;
`/fail` raises; `/split` sends a header with a line break; `/closed` answers how many bodies were closed.
"""

from gevent import monkey

monkey.patch_all(thread=False, queue=False)

import json
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import gevent

from wsgiapp.observability import logs
from wsgiapp.server.wsgi_server import Server
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.tables.gateway import Http, Limits

HTTP = Http(idle_seconds=1.0, header_seconds=1.5, body_seconds=1.5)

closed = 0


class Pieces:
    """A body in pieces, which wants to be closed (PEP 3333)."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        yield b"<" + b"x" * (self._size // 2 - 1)
        yield b"x" * (self._size - self._size // 2 - 1) + b">"

    def close(self) -> None:
        global closed
        closed += 1


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ZeroDivisionError("secret")
    if path == "/split":
        start_response("200 OK", [("X-Sent", environ["QUERY_STRING"] + "\r\nSet-Cookie: a=b")])
        return [b""]
    if path == "/large":
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Length", str(size))])
        return Pieces(size)
    answer: dict[str, Any] = {"path": path, "closed": closed}
    status = "200 OK"
    if path == "/echo":
        try:
            answer["body"] = environ["wsgi.input"].read().decode("latin-1")
        except OSError as exc:
            status, answer["error"] = "400 Bad Request", str(exc)
        answer |= {name: value for name, value in environ.items() if isinstance(value, str | int | bool)}
    body = json.dumps(answer).encode()
    start_response(status, [("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def main() -> None:
    logs.configure("info")
    settings = Settings(home=Path(), conf=Path(), http=HTTP, limits=Limits(request_line_bytes=20_000))
    server = Server(
        socket.create_server(("127.0.0.1", int(sys.argv[1]))), application, settings, FileIO(1, "wb", closefd=False)
    )
    gevent.spawn(server.tick)
    server.start()
    print("ready", flush=True)
    gevent.sleep(600)


main()
