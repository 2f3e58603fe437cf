"""One worker's HTTP server: gevent's pywsgi with limits, and a stop that loses no request."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import gevent
from gevent import pywsgi
from gevent.event import Event
from gevent.pool import Pool

from wsgiapp.app import Application, create_app
from wsgiapp.http import TITLES, failure_response, request_id
from wsgiapp.settings import Settings

log = logging.getLogger(__name__)

# A busy proxy uses an idle connection again within milliseconds, and closing it just then costs the proxy a second try.
# So a drain first lets those end with an answer that says `Connection: close`, and then closes what is still idle.
LINGER_SECONDS = 0.2
# Bytes of a body; a longer one is sent after its head, because copying it costs more than a system call.
LARGEST_COPY = 256 * 1024
# Of the access log: bytes that wait at most, and for how long.
LOG_BUFFER = 64 * 1024
FLUSH_SECONDS = 0.5


class Handler(pywsgi.WSGIHandler):
    """One connection. It tells the server when it waits for a request, and closes when the server drains."""

    server: "Server"
    close_connection: bool

    def read_requestline(self) -> str:
        connection = self.socket
        self.server.idle.add(connection)
        if self.server.closing:
            _end_of_requests(connection)
        try:
            return super().read_requestline()
        finally:
            self.server.idle.discard(connection)

    def handle_one_request(self) -> Any:
        result = super().handle_one_request()
        if not isinstance(result, tuple):
            return result
        status = int(result[0].split()[0])
        if status == 414:
            self._skip_line()
        return str(status), _bare_error(status, self.requestline)

    def get_environ(self) -> dict[str, Any]:
        """With the path as it was sent: percent-encoding tells a slash in a name from one between names."""
        environ: dict[str, Any] = super().get_environ()
        environ["REQUEST_URI"] = self.path
        return environ

    def _skip_line(self) -> None:
        """Read what is left of a line that is too long: closing the connection before would reset it under our answer.

        A line without an end is given up after 16 MiB.
        """
        with suppress(OSError):
            for _ in range(256):
                if len(self.rfile.readline(65536)) < 65536:
                    break

    def _write_with_headers(self, data: bytes) -> None:
        """Send head and body together, where pywsgi sends them one by one.

        It saves a system call, and a worker that is killed between the two would leave half an answer, which Nginx
        cannot ask another worker for any more.
        """
        self.headers_sent = True
        self.finalize_headers()
        lines = [b"HTTP/1.1 " + self.status, *(name + b": " + value for name, value in self.response_headers), b"\r\n"]
        head = b"\r\n".join(lines)
        if self.response_use_chunked or len(data) > LARGEST_COPY:
            self._sendall(head)
            self._write(data)
        else:
            self._sendall(head + data)

    def finalize_headers(self) -> None:
        super().finalize_headers()
        if self.server.draining and not self.close_connection:
            self.response_headers.append((b"Connection", b"close"))
            self.close_connection = True


class Server(pywsgi.WSGIServer):
    """Serves `application` on `listener` until `drain` is called."""

    handler_class = Handler

    def __init__(self, listener: socket.socket, application: Application, settings: Settings) -> None:
        # pywsgi has this limit as a module's global only.
        pywsgi.MAX_REQUEST_LINE = settings.limits.request_line_bytes
        self._idle_seconds = settings.http.idle_seconds
        self._is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6)
        self.idle: set[Any] = set()
        self.draining = False  # accepts nothing, closes each connection with its next answer
        self.closing = False  # closes connections that wait for a request, too
        super().__init__(
            listener,
            application,
            spawn=Pool(settings.http.connections),
            log=None,
            error_log=log,
            environ={"wsgi.multiprocess": True},  # accept one connection at a time: the socket is shared
        )

    def handle(self, sock: socket.socket, address: Any) -> None:
        if self._is_tcp:  # a long body is written after its head; without this it waits for a delayed ACK
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self._idle_seconds)
        super().handle(sock, address)

    def drain(self, seconds: float) -> int:
        """Accept nothing more, close idle connections, wait for the busy ones; the number of those given up."""
        self.draining = True
        self.stop_accepting()
        if self.idle:
            gevent.sleep(LINGER_SECONDS)
        self.closing = True
        for connection in list(self.idle):
            _end_of_requests(connection)
        self.pool.join(timeout=seconds)
        abandoned = len(self.pool)
        self.stop(timeout=0)
        return abandoned


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, then drain and return."""
    # Lines are written in batches: one by one, each costs a switch to supervisord, which copies them to the file.
    access_log = open(sys.stdout.fileno(), "wb", buffering=LOG_BUFFER, closefd=False)  # noqa: SIM115
    app = create_app(settings, access_log)
    server = Server(listener, app, settings)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    app.planes.data.warm_up()
    flusher = gevent.spawn(_flush_regularly, access_log)
    server.start()
    process = os.environ.get("SUPERVISOR_PROCESS_NAME", f"worker-{os.getpid()}")
    with _announced(settings.ready_file(process)):
        log.info("ready, pid %d", os.getpid())
        stop.wait()
    abandoned = server.drain(settings.http.drain_seconds)
    app.close()
    flusher.kill()
    with suppress(OSError):
        access_log.close()
    log.log(logging.WARNING if abandoned else logging.INFO, "drained, %d connections given up", abandoned)


def _flush_regularly(stream: BinaryIO) -> None:
    while True:
        gevent.sleep(FLUSH_SECONDS)
        with suppress(OSError):  # its reader has gone
            stream.flush()


@contextmanager
def _announced(path: Path) -> Iterator[None]:
    """The ready file exists while the body runs: whoever restarts workers waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _end_of_requests(connection: Any) -> None:
    """Let the connection's reader meet its end of file, after what has already arrived."""
    with suppress(OSError):  # the client was quicker
        # Not gevent's own shutdown(): it fails the waiting reader, and a request that has just come would be lost.
        connection._sock.shutdown(socket.SHUT_RD)


def _bare_error(status: int, request_line: str) -> bytes:
    """A whole HTTP answer for a request that is too malformed to reach the application."""
    details = {414: "the request line is longer than the limit; send large values by POST"}
    detail = details.get(status, "the request is not well-formed HTTP")
    response = failure_response(status, detail, request_line.partition(" ")[2], request_id({}))
    body = response.get_data()
    head = (
        f"HTTP/1.1 {status} {TITLES.get(status, 'Error')}\r\nContent-Type: {response.mimetype}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
