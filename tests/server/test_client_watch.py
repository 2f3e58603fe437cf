"""Clients that go while their request waits: it is aborted; those that have only finished sending get their answer."""

import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gevent import socket as gevent_socket
from gevent.event import Event

from wsgiapp.errors import Cancelled
from wsgiapp.server.wsgi_server import Server
from wsgiapp.settings.schema import Settings
from wsgiapp.web.client_gone import aborted_when_client_goes

LIMIT = 20.0
HEAD = b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Waiting:
    """An application whose requests wait until they are let go; `/abortable` may be aborted."""

    def __init__(self) -> None:
        self.begun, self.go, self.ended = Event(), Event(), Event()
        self.outcome = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            if environ["PATH_INFO"] == "/abortable":
                with aborted_when_client_goes(environ):
                    self._wait()
            else:
                self._wait()
            self.outcome = "answered"
        except Cancelled as exc:
            self.outcome = str(exc)
        finally:
            self.ended.set()
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    def _wait(self) -> None:
        self.begun.set()
        try:
            assert self.go.wait(LIMIT)
        except Exception as exc:  # as code that tries again would
            raise AssertionError from exc


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


def listener(kind: str, folder: Path) -> socket.socket:
    if kind == "tcp":
        return socket.create_server(("127.0.0.1", 0))
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(folder / "app.sock"))
    made.listen()
    return made


@pytest.fixture(params=["unix", "tcp"])
def server(request: pytest.FixtureRequest, waiting: Waiting, tmp_path: Path) -> Iterator[Server]:
    made = Server(listener(request.param, tmp_path), waiting, Settings(home=tmp_path, conf=tmp_path))
    made.start()
    yield made
    waiting.go.set()
    made.drain(LIMIT)


def connected(server: Server, path: bytes, waiting: Waiting) -> Any:
    """A client whose request waits already."""
    client = gevent_socket.socket(server.family)
    client.settimeout(LIMIT)
    client.connect(server.address)
    client.sendall(HEAD % path)
    assert waiting.begun.wait(LIMIT)
    return client


def go_away(client: Any) -> None:
    """As Nginx does, and, on TCP, a client that does not take what comes."""
    if client.family != socket.AF_UNIX:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_request_whose_client_has_gone_is_aborted(server: Server, waiting: Waiting) -> None:
    go_away(connected(server, b"/abortable", waiting))
    assert waiting.ended.wait(LIMIT) and not waiting.go.is_set()
    assert waiting.outcome == "the client closed its connection before the answer was ready"
    assert not server.client_watch.abortable


def test_what_must_come_to_its_end_does(server: Server, waiting: Waiting) -> None:
    go_away(connected(server, b"/change", waiting))
    assert not waiting.ended.wait(0.3)
    waiting.go.set()
    assert waiting.ended.wait(LIMIT) and waiting.outcome == "answered"


def test_a_client_that_has_only_finished_sending_is_answered(server: Server, waiting: Waiting) -> None:
    """`nc -N` and some clients of HTTP/1.0 do so."""
    with connected(server, b"/abortable", waiting) as client:
        client.shutdown(socket.SHUT_WR)
        assert not waiting.ended.wait(0.3)
        waiting.go.set()
        assert client.makefile("rb").read().endswith(b"\r\n\r\ndone")
    assert waiting.outcome == "answered"


def test_the_others_of_the_same_moment_go_on(server: Server, waiting: Waiting) -> None:
    first, second = (connected(server, b"/abortable", waiting) for _ in range(2))
    go_away(first)
    assert waiting.ended.wait(LIMIT)
    waiting.go.set()
    assert second.makefile("rb").read().endswith(b"done")
    second.close()
