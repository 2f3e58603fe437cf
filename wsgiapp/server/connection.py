"""`Handler`: one connection of the worker's HTTP server, with the hot path of pywsgi's written anew.

pywsgi parses headers as e-mail, formats a log line that nobody reads, and starts a timer whenever it waits for a
client. Here the head is parsed by `request_head`, an answer is sent whole in one call, and one sweep of the server
looks after silent clients (measured: half of the CPU time of an application that does nothing).
"""

import logging
import socket
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Any, Protocol

from gevent import pywsgi

from wsgiapp.server.body import Body, BodyLimits
from wsgiapp.server.client_watch import ClientWatch
from wsgiapp.server.rejection import Forms, environ_of, rejection
from wsgiapp.server.request_head import MalformedRequest, read_head
from wsgiapp.web.access_log import Stream, access_line
from wsgiapp.web.client_gone import CLIENT_KEY
from wsgiapp.web.problems import failure_response
from wsgiapp.web.request import request_id
from wsgiapp.web.response import STATUS_LINES
from wsgiapp.web.turns import give_way

log = logging.getLogger(__name__)

# Bytes of a body; a longer one is sent after its head, because copying it costs more than a system call.
MAX_JOINED_BYTES = 256 * 1024
# For the request of a client for whom there is no room.
TURN_AWAY_SECONDS = 1.0
# A client may send many requests at once (pipelining): those that are answered for so long, others wait.
MAX_TURN_SECONDS = 0.002
TOO_SLOW = "the head did not arrive in time"
# Old clients end a body with one more than they announce (RFC 9112, 2.2).
EMPTY_LINES = (b"\r\n", b"\n")


class Serving(BodyLimits, Forms, Protocol):
    """What a connection sees of its server: `wsgi_server.Server`."""

    application: Any
    environ: dict[str, Any]  # what all requests have in common
    max_request_line_bytes: int
    idle_seconds: float
    header_seconds: float
    loop: Any  # gevent's
    idle: dict[Any, float]  # connections that wait for a request, and since when
    heads: dict[Any, float]  # connections whose request has begun, and when its head must be whole
    date: str  # the header for now
    draining: bool  # each connection closes with its next answer
    closing: bool  # those that wait for a request close, too
    client_watch: ClientWatch
    access_log: Stream | None


class Handler(pywsgi.WSGIHandler):
    """It tells the server when it waits for a request, and closes when the server drains.

    Answers must be whole: what the application returns is joined before anything is sent.
    """

    server: Serving
    keeps_alive = True  # otherwise the connection closes with its first answer
    has_room = True  # otherwise its request is answered 503
    timed_out = False  # the server has ended what was to be read
    # The turn of the event loop in which the last request was looked for, and when the first one of that turn was.
    _turn, _turn_began = -1, 0.0

    def handle_one_request(self) -> Any:
        """Answer one request; true while the connection may bring another one."""
        if not self.has_room:
            self._turn_away()
            return None
        if not self._has_begun():
            return None
        heads = self.server.heads
        heads[self] = time.monotonic() + self.server.header_seconds
        try:
            variables = self._read_head()
        finally:
            del heads[self]
        if variables is None:
            return None
        self.socket.settimeout(self.server.idle_seconds)
        self._respond(variables)
        return None if self.close_connection else True

    def end_of_requests(self) -> None:
        """Let the connection's reader meet its end of file, after what has already arrived."""
        with suppress(OSError, AttributeError):  # the client was quicker, or the handler
            # Not gevent's own shutdown(): it fails the waiting reader, and a request that has just come would be lost.
            self.socket._sock.shutdown(socket.SHUT_RD)

    def time_out(self) -> None:
        """The head took too long."""
        self.timed_out = True
        self.end_of_requests()

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

    def _has_begun(self) -> bool:
        """Whether there is another request. Waiting for it may take the idle time."""
        now = time.monotonic()
        turn = self.server.loop.iteration
        if turn != self._turn:
            self._turn, self._turn_began = turn, now
        elif now > self._turn_began + MAX_TURN_SECONDS:
            give_way()
        waiting = self.server.idle
        waiting[self] = now
        if self.server.closing:
            self.end_of_requests()
        try:
            self.socket.settimeout(None)  # the server's sweep looks after it
            return bool(self.rfile.peek(1))
        except OSError:
            return False
        finally:
            del waiting[self]

    def _read_head(self) -> dict[str, str] | None:
        """The variables of the request; nothing where it was answered, or its client has gone."""
        line = b""
        max_bytes = self.server.max_request_line_bytes
        try:
            line = self.rfile.readline(max_bytes)
            if line in EMPTY_LINES:
                line = self.rfile.readline(max_bytes)
            if line.endswith(b"\n"):
                return read_head(line, self.rfile.readline)
            if len(line) >= max_bytes:
                self._skip_line()
                self._reject(414, line, "too large request line", self._fields_of_long_line())
            elif line and self.timed_out:
                self._reject(408, line, TOO_SLOW)
        except MalformedRequest as exc:
            status, reason = (408, TOO_SLOW) if self.timed_out else (exc.status, str(exc))
            self._reject(status, line, reason)
        except OSError:  # the client has gone
            pass
        return None

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
            self._send(b"" if variables["REQUEST_METHOD"] == "HEAD" else body, variables["SERVER_PROTOCOL"])
            request_body.discard()  # also before a close, which would reset the connection under the answer
            if request_body.is_broken:
                self.close_connection = True
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
        chunked = "HTTP_TRANSFER_ENCODING" in variables
        environ["wsgi.input"] = Body(
            self, self.server, int(length) if length else None, chunked=chunked, expects=expects
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

    def _fields_of_long_line(self) -> dict[str, str]:
        """The headers after a line that is too long, where they can be read."""
        try:
            return read_head(b"GET / HTTP/1.0\r\n", self.rfile.readline)
        except (MalformedRequest, OSError):
            return {}

    def _turn_away(self) -> None:
        """Answer a client for whom there is no room; one that says nothing is left at once."""
        with suppress(OSError):
            self.socket.settimeout(TURN_AWAY_SECONDS)
            self._reject(503, self.rfile.readline(self.server.max_request_line_bytes), "too many open connections")

    def _reject(self, status: int, line: bytes, reason: str, fields: dict[str, str] | None = None) -> None:
        """Answer a request that does not reach the application; the connection ends."""
        self.socket.settimeout(self.server.idle_seconds)
        environ = environ_of(line, self.client_address, fields or {})
        response = rejection(status, environ, self.server, reason)
        lines = [f"HTTP/1.1 {STATUS_LINES[response.status]}", *(f"{name}: {value}" for name, value in response.headers)]
        head = "\r\n".join([*lines, self.server.date, "Connection: close", "", ""])
        if self.server.access_log is not None:
            with suppress(OSError):
                self.server.access_log.write(access_line(environ, 0.0))
        with suppress(OSError):  # the client has gone
            self.socket.sendall(head.encode("latin-1") + response.body)

    def _no_write(self, data: bytes) -> None:
        raise NotImplementedError("write() is not offered; return the body")


def date_header() -> str:
    """The `Date` header for now."""
    return "Date: " + formatdate(time.time(), usegmt=True)
