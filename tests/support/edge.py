"""`Edge`: Nginx with the service's configuration, in front of an application that says what reached it."""

import json
import shutil
import socket
import socketserver
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple, Self

from support.processes import REPOSITORY, Process, free_port
from wsgiapp.deployment import nginx
from wsgiapp.deployment.render import render
from wsgiapp.settings.loading import load_settings


class Reply(NamedTuple):
    """An answer as it was sent, up to the end of the connection; headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Told(BaseHTTPRequestHandler):
    """Answers the request's path and headers as JSON, with an id as workers do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        large = self.path.startswith("/large")
        body = (
            bytes(16 * 2**20)
            if large
            else json.dumps(
                {"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
            ).encode()
        )
        self.send_response(200)
        own = "of-the-worker" if self.path == "/misunderstood" else ""  # as where it could not read the head
        self.send_header("X-Request-ID", own or self.headers.get("X-Request-ID", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        return super().get_request()[0], ("unix", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: where Nginx speaks to uWSGI, it is not HTTP."""


class Edge:
    """Serves until the `with` block is left."""

    def __init__(self, home: Path, *, own_nginx: str = "", connections: int = 0, **variables: str) -> None:
        """`own_nginx` are lines of the user's own for Nginx, in `conf/nginx.d`; `connections`: all it may have open."""
        self.home = home
        if not (home / "conf").exists():
            shutil.copytree(REPOSITORY / "conf", home / "conf")
        (home / "conf/nginx.d/own.conf").write_text(own_nginx)
        template = home / "conf/nginx.conf"
        text = template.read_text().replace("flush=1s", "flush=10ms")  # tests wait for the log
        if connections:
            text = text.replace("@{nginx_connections}", str(connections))
        template.write_text(text)
        self.port = free_port()
        self.settings = load_settings(
            {
                "WSGIAPP_CONF": str(home / "conf"),
                "WSGIAPP_HOME": str(home),
                "WSGIAPP_APP_WORKERS": "1",
                "WSGIAPP_HTTP_PORT": str(self.port),
                "WSGIAPP_LIMITS_BODY_BYTES": str(2 * 2**20),
                "WSGIAPP_LIMITS_REQUEST_LINE_BYTES": str(32 * 1024),
                **variables,
            }
        )
        render(self.settings)
        self._sockets = [UnixServer(str(self.settings.run / name), Told) for name in ("app.sock", "app_00.sock")]
        for server in self._sockets:
            Path(str(server.server_address)).chmod(0o666)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        program = nginx.find_nginx(self.settings) or ""
        command = nginx.command(self.settings, program, self.settings.run / "nginx.conf")
        self.nginx = Process(command, home / "nginx.log")

    def __enter__(self) -> Self:
        self.nginx.wait_until(self._is_up)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.nginx.__exit__()
        for server in self._sockets:
            server.shutdown()
            server.server_close()

    def ask(self, head: str | bytes, *, port: int = 0, host: str = "127.0.0.1", client: Any = None) -> Reply:
        """What is answered to these bytes on a connection of their own, or on `client`."""
        sent = head.encode("latin-1") if isinstance(head, str) else head
        with client or socket.create_connection((host, port or self.port), timeout=30) as connection:
            connection.sendall(sent)
            received = b""
            while piece := connection.recv(2**20):
                received += piece
        top, _, body = received.partition(b"\r\n\r\n")
        first, *fields = top.decode("latin-1").split("\r\n")
        pairs = (field.partition(": ") for field in fields)
        return Reply(int((first.split() or ["", "0"])[1]), {name.lower(): value for name, _, value in pairs}, body)

    def get(self, path: str = "/x", *fields: str, method: str = "GET", **more: Any) -> Reply:
        """The answer to a request without a body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: service.example", "Connection: close", *fields]
        return self.ask("\r\n".join([*lines, "", ""]), **more)

    def logged(self, request: str) -> dict[str, Any]:
        """The line of the access log with this request id."""

        def found() -> dict[str, Any] | None:
            lines = [line for line in self.nginx.output.splitlines() if line.startswith("{") and request in line]
            return json.loads(lines[0]) if lines else None

        line: dict[str, Any] = self.nginx.wait_until(found, 20)
        return line

    def _is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True
