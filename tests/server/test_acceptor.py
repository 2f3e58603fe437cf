"""More connections than there is room for: idle ones make room, and who cannot be served is told so, or closed."""

import contextlib
import json
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket as gevent_socket
from gevent.event import Event

from support.http_client import fetch
from support.processes import SUPPORT, Process, free_port
from wsgiapp.server import acceptor
from wsgiapp.server.wsgi_server import Server
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.tables.gateway import Http

LIMIT = 20.0
ROOM = 4
REQUEST = b"GET %s HTTP/1.1\r\nHost: h\r\nX-Request-ID: mine\r\n\r\n"


class Lines:
    """An access log."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def write(self, line: bytes) -> None:
        self.lines.append(json.loads(line))


class Crowded:
    """A server with room for few; requests for `/wait` wait until they are let go."""

    def __init__(self, folder: Path) -> None:
        self.go, self.log, self.waiting = Event(), Lines(), 0
        settings = Settings(home=folder, conf=folder, http=Http(connections=ROOM))
        self.server = Server(socket.create_server(("127.0.0.1", 0)), self._answer, settings, self.log)
        self.server.start()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/wait":
            self.waiting += 1
            self.go.wait(LIMIT)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    def connect(self, sent: bytes = b"") -> Any:
        client = gevent_socket.create_connection(self.server.address)
        client.settimeout(LIMIT)
        client.sendall(sent)
        gevent.sleep(0.001)
        return client

    def close(self) -> None:
        self.go.set()
        self.server.drain(LIMIT)


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Crowded]:
    made = Crowded(tmp_path)
    yield made
    made.close()


def is_answered(client: Any) -> bool:
    client.sendall(REQUEST % b"/")
    return bool(client.recv(1000).endswith(b"\r\n\r\nok"))


def test_the_one_that_is_idle_for_the_longest_time_makes_room(crowded: Crowded) -> None:
    clients = [crowded.connect() for _ in range(ROOM)]
    assert is_answered(clients[0]), "now the second is the oldest"
    for more in range(1, 3):
        clients.append(crowded.connect())
        assert is_answered(clients[-1])
        assert clients[more].recv(1) == b""
    assert is_answered(clients[0]) and is_answered(clients[3])


def test_where_all_are_busy_one_more_is_told_so(crowded: Crowded) -> None:
    busy = [crowded.connect(REQUEST % b"/wait") for _ in range(ROOM)]
    with gevent.Timeout(LIMIT):
        while crowded.waiting < ROOM:
            gevent.sleep(0.001)
    turned_away = [crowded.connect(b"%s /x?y HTTP/1.1\r\nHost: h\r\n\r\n" % method) for method in (b"GET", b"HEAD")]
    head, _, body = turned_away[0].makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in head + b"\r\n"
    problem = json.loads(body)
    assert (problem["status"], problem["detail"]) == (503, "too many connections are open; try again in a moment")
    assert turned_away[1].makefile("rb").read().partition(b"\r\n\r\n")[2] == b""
    line = next(each for each in crowded.log.lines if each["request_id"] == problem["request_id"])
    assert (line["status"], line["method"], line["path"], line["client"]) == (503, "GET", "/x", "127.0.0.1")
    crowded.go.set()
    for client in busy:
        assert client.recv(1000).endswith(b"ok")
    assert is_answered(crowded.connect())


def test_heads_that_come_slowly_make_room_too(crowded: Crowded, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [crowded.connect(b"GET / HT") for _ in range(ROOM)]
    assert crowded.connect(REQUEST % b"/").recv(1000).startswith(b"HTTP/1.1 503 "), "they have just begun"
    monkeypatch.setattr(acceptor, "MIN_HEAD_SECONDS", 0.0)
    assert is_answered(crowded.connect())
    assert slow[0].recv(1000).startswith(b"HTTP/1.1 408 ")


@pytest.fixture
def _no_descriptor_left() -> Iterator[Callable[[], None]]:
    """Takes all that this process may have, until the test has ended or the function it gives is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def give_back() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        while taken:
            os.close(taken.pop())

    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, used + 10), hard))
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    yield give_back
    give_back()


def test_without_a_descriptor_left_a_connection_is_closed_and_not_left_hanging(
    crowded: Crowded, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    idle = crowded.connect()
    clients = [gevent_socket.socket() for _ in range(3)]
    give_back = request.getfixturevalue("_no_descriptor_left")
    for client in clients:
        client.settimeout(LIMIT)
        client.connect(crowded.server.address)
    assert idle.recv(1) == b"", "it makes room"
    ends = [is_closed(client) for client in clients]
    give_back()
    assert any(ends)
    assert is_answered(crowded.connect())
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["1 connections turned away: the limit of file descriptors is reached"], "one in ten seconds"


def is_closed(client: Any) -> bool:
    """Whether it was at once; one that got the descriptor of another one is served."""
    try:
        client.sendall(REQUEST % b"/")
        return not client.recv(1000)
    except OSError:
        return True


def test_no_more_connections_than_file_descriptors(tmp_path: Path) -> None:
    port = free_port()
    program = [sys.executable, str(SUPPORT / "echo_server.py"), str(port)]
    with Process(["sh", "-c", 'ulimit -n 40 && exec "$@"', "sh", *program], tmp_path / "log") as process:
        process.wait_until(lambda: "ready" in process.output)
        assert "no more fit into the limit of 40 file descriptors" in process.output
        clients = [socket.create_connection(("127.0.0.1", port), timeout=LIMIT) for _ in range(60)]
        assert fetch(f"http://127.0.0.1:{port}/echo").status == 200
        for client in clients:
            client.close()
        assert "Traceback" not in process.output
