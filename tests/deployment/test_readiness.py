"""Who answers at the service's address, and what is missing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import pytest

from support.processes import free_port
from wsgiapp.deployment import readiness
from wsgiapp.errors import StackError
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings
from wsgiapp.web.views.health import INSTANCE_HEADER


def settings(home: Path, port: int) -> Settings:
    return load_settings({"WSGIAPP_HOME": str(home), "WSGIAPP_HTTP_PORT": str(port)})


@contextmanager
def serving(server: TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http_server(status: int, missing: list[str], instance: str = "") -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"status": 0, "missing": missing}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if instance:
                self.send_header(INSTANCE_HEADER, instance)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return HTTPServer(("127.0.0.1", 0), Handler)


def test_the_stack_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    instance = settings(tmp_path, 1).instance
    with serving(http_server(200, [], instance)) as port:
        assert readiness.missing(settings(tmp_path, port)) == []
    with serving(http_server(503, ["m: no version is AVAILABLE (none known)"], instance)) as port:
        assert readiness.missing(settings(tmp_path, port)) == ["m: no version is AVAILABLE (none known)"]


def test_the_same_home_by_another_path_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    assert settings(tmp_path / "home", 1).instance == settings(tmp_path / "link", 1).instance
    assert settings(tmp_path / "home", 1).instance != settings(tmp_path, 1).instance


@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_program_is_never_ready(tmp_path: Path, status: int) -> None:
    other = settings(tmp_path / "other", 1).instance
    for instance in ("", other):
        words = rf"another program answers at 127.0.0.1:\d+ \(HTTP {status}\)"
        with serving(http_server(status, [], instance)) as port, pytest.raises(StackError, match=words):
            readiness.missing(settings(tmp_path, port))


def test_a_program_that_speaks_no_http(tmp_path: Path) -> None:
    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"+PONG\r\n")

    server = TCPServer(("127.0.0.1", 0), Handler)
    with serving(server) as port, pytest.raises(StackError, match="another program answers"):
        readiness.missing(settings(tmp_path, port))


def test_nginx_without_workers_and_nobody_at_all(tmp_path: Path) -> None:
    with serving(http_server(502, [])) as port:
        assert readiness.missing(settings(tmp_path, port)) == [f"127.0.0.1:{port}: no worker answers (HTTP 502)"]
    port = free_port()
    assert readiness.missing(settings(tmp_path, port)) == [f"127.0.0.1:{port}: Connection refused"]
