"""`Handler`: one connection of the worker's HTTP server, with the hot path of pywsgi's written anew.

pywsgi parses headers as e-mail, formats a log line that nobody reads, and starts a timer whenever it waits for a
client. Here the head is parsed by `request_head`, an answer is sent whole in one call, and one sweep of the server
looks after silent clients (measured: half of the CPU time of an application that does nothing).
"""

import logging
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Protocol

from gevent import pywsgi

from wsgiapp.server.body import Body
from wsgiapp.server.client_watch import ClientWatch
from wsgiapp.server.request_head import MalformedRequest, read_head
from wsgiapp.web.client_gone import CLIENT_KEY
from wsgiapp.web.compatibility import as_flask
from wsgiapp.web.cors import Cors
from wsgiapp.web.problems import DETAIL_BY_STATUS, failure_response
from wsgiapp.web.request import path_of_target, request_id
from wsgiapp.web.response import STATUS_LINES

log = logging.getLogger(__name__)

# Bytes of a body; a longer one is sent after its head, because copying it costs more than a system call.
MAX_JOINED_BYTES = 256 * 1024
# Old clients end a body with one more than they announce (RFC 9112, 2.2).
EMPTY_LINES = (b"\r\n", b"\n")


class Serving(Protocol):
    """What a connection sees of its server: `wsgi_server.Server`."""

    application: Any
    environ: dict[str, Any]  # what all requests have in common
    max_request_line_bytes: int
    idle_seconds: float
    idle: dict[Any, float]  # connections that wait for a request, and since when
    date: str  # the header for now
    draining: bool  # each connection closes with its next answer
    closing: bool  # those that wait for a request close, too
    client_watch: ClientWatch
    cors: Cors
    as_flask: bool  # see `http.compatibility`

    def end_of_requests(self, connection: Any) -> None:
        """Let the connection's reader meet its end of file."""


class Handler(pywsgi.WSGIHandler):
    """It tells the server when it waits for a request, and closes when the server drains.

    Answers must be whole: what the application returns is joined before anything is sent.
    """

    server: Serving
    keeps_alive = True  # otherwise the connection closes with its first answer

    def handle_one_request(self) -> Any:
        """Answer one request; true while the connection may bring another one."""
        line = self._request_line()
        if not line.endswith(b"\n"):
            if len(line) < self.server.max_request_line_bytes:
                return None  # the client has gone, was silent for too long, or the server drains
            self._skip_line()
            self._reject(414, line, self._origin() if self.server.cors else "")
            return None
        try:
            variables = read_head(line, self.rfile.readline)
        except MalformedRequest as exc:
            self._reject(exc.status, line)
            return None
        except OSError:
            return None
        self._respond(variables)
        return None if self.close_connection else True

    def log_request(self) -> None:
        """Nothing: the application writes its own access log."""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Remember status and headers, for `_respond` to send with the body (PEP 3333)."""
        for name, value in headers:
            if "\n" in value or "\r" in value or "\n" in name or "\r" in name:
                raise ValueError(f"a line break in the header {name!r}")
        self.status = status
        self.response_headers = headers
        return self._no_write

    def _request_line(self) -> bytes:
        """The next request's first line, whole if it ends in a line feed. Waiting for it may take the idle time."""
        connection = self.socket
        waiting = self.server.idle
        waiting[connection] = time.monotonic()
        if self.server.closing:
            self.server.end_of_requests(connection)
        try:
            connection.settimeout(None)  # the server's sweep looks after it
            line: bytes = self.rfile.readline(self.server.max_request_line_bytes)
            if line in EMPTY_LINES:
                line = self.rfile.readline(self.server.max_request_line_bytes)
            connection.settimeout(self.server.idle_seconds)
        except OSError:
            return b""
        finally:
            del waiting[connection]
        return line

    def _respond(self, variables: dict[str, str]) -> None:
        environ = self._environ(variables)
        self.status = ""
        try:
            try:
                result = self.server.application(environ, self.start_response)
                body = b"".join(result)
                if hasattr(result, "close"):
                    result.close()
            except Exception:
                log.exception("the application failed")
                body = self._failed(environ)
            request_body = environ["wsgi.input"]
            if request_body.is_broken:
                self.close_connection = True
            self._send(body, variables["SERVER_PROTOCOL"])
            if not request_body.is_broken:
                request_body._discard()  # also before a close, which would reset the connection under the answer
        except OSError:  # the client has gone, or sent what is not chunked although it said so
            self.close_connection = True

    def _environ(self, variables: dict[str, str]) -> dict[str, Any]:
        length = variables.get("CONTENT_LENGTH")
        connection = variables.get("HTTP_CONNECTION", "").lower()
        options = [option.strip() for option in connection.split(",")] if connection else []
        if variables["SERVER_PROTOCOL"] == "HTTP/1.1":
            self.close_connection = "close" in options
            expects = variables.get("HTTP_EXPECT", "").lower() == "100-continue"
        else:
            self.close_connection = "close" in options or "keep-alive" not in options
            expects = False  # it would take an interim answer for the answer (RFC 9110, 10.1.1)
        environ: dict[str, Any] = {**self.server.environ, **variables}
        environ["wsgi.input"] = Body(
            self.rfile,
            int(length) if length else None,
            socket=self.socket if expects else None,
            chunked_input="HTTP_TRANSFER_ENCODING" in variables,
        )
        environ["wsgi.input_terminated"] = True
        environ[CLIENT_KEY] = (self.server.client_watch.abortable, self.socket)
        if isinstance(self.client_address, tuple):
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = str(self.client_address[0]), str(self.client_address[1])
        return environ

    def _send(self, body: bytes, protocol: str) -> None:
        """Head and body together: it saves a system call, and a worker that is killed between the two would leave half
        an answer, which Nginx cannot ask another worker for any more."""
        if self.server.draining or not self.keeps_alive:
            self.close_connection = True
        lines = [f"HTTP/1.1 {self.status}"]
        lines += [f"{name}: {value}" for name, value in self.response_headers]
        lines.append(self.server.date)
        if self.close_connection:
            lines.append("Connection: close")
        elif protocol == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if len(body) > MAX_JOINED_BYTES:
            self.socket.sendall(head)
            self.socket.sendall(body)
        else:
            whole = head + body
            sent = self.socket.send(whole)  # all of it, but for a client that does not read
            if sent < len(whole):
                self.socket.sendall(whole[sent:])

    def _failed(self, environ: dict[str, Any]) -> bytes:
        """The answer to what the application itself should have answered."""
        response = failure_response(500, "the service failed", environ["PATH_INFO"], request_id(environ))
        return b"".join(response(environ, self.start_response))

    def _skip_line(self) -> None:
        """Read what is left of a line that is too long: closing the connection before would reset it under our answer.

        At most 16 MiB of it are read.
        """
        with suppress(OSError):
            for _ in range(256):
                if len(self.rfile.readline(65536)) < 65536:
                    break

    def _origin(self) -> str:
        """The origin in the headers after a line that is too long; empty where there is none."""
        try:
            return read_head(b"GET / HTTP/1.0\r\n", self.rfile.readline).get("HTTP_ORIGIN", "")
        except (MalformedRequest, OSError):
            return ""

    def _reject(self, status: int, line: bytes, origin: str = "") -> None:
        """Answer a request that is too malformed to reach the application; the connection ends."""
        path = path_of_target(line.decode("latin-1").partition(" ")[2])
        detail = DETAIL_BY_STATUS[status]
        response = failure_response(status, detail, path, request_id({}))
        if self.server.as_flask:
            response = as_flask(response, path.partition(" ")[0])
        if self.server.cors:
            response.headers += self.server.cors.answer(origin, path)
        lines = [f"HTTP/1.1 {STATUS_LINES[response.status]}", *(f"{name}: {value}" for name, value in response.headers)]
        head = "\r\n".join([*lines, self.server.date, "Connection: close", "", ""])
        with suppress(OSError):  # the client has gone
            self.socket.sendall(head.encode("latin-1") + response.body)

    def _no_write(self, data: bytes) -> None:
        raise NotImplementedError("write() is not offered; return the body")


def date_header() -> str:
    """The `Date` header for now."""
    return "Date: " + formatdate(time.time(), usegmt=True)
