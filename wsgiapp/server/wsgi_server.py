"""One worker's HTTP server: gevent's pywsgi with limits, and a stop that loses no request."""

import logging
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from gevent import pywsgi
from gevent.pool import Pool
from gevent.server import StreamServer

from wsgiapp.server.client_watch import ClientWatch
from wsgiapp.server.connection import Handler, date_header
from wsgiapp.settings.schema import Settings
from wsgiapp.web.cors import Cors

log = logging.getLogger(__name__)

# A busy proxy uses an idle connection again within milliseconds, and closing it just then costs the proxy a second try.
# So a drain first lets those end with an answer that says `Connection: close`, and then closes what is still idle.
LINGER_SECONDS = 0.2
# How often the server looks at the clock, for the answers' dates and for clients that are silent.
TICK_SECONDS = 1.0
BACKLOG = 1024  # connections that wait to be accepted on a worker's own socket


class Server(pywsgi.WSGIServer):
    """Serves `application` on `listener` until `drain` is called."""

    handler_class = Handler

    def __init__(self, listener: socket.socket, application: Any, settings: Settings) -> None:
        self.max_request_line_bytes = settings.limits.request_line_bytes
        self.idle_seconds = settings.http.idle_seconds
        self._is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6)
        self.idle: dict[Any, float] = {}  # connections that wait for a request, and since when
        self.date = date_header()
        self.draining = False  # accepts nothing, closes each connection with its next answer
        self.closing = False  # closes connections that wait for a request, too
        self.client_watch = ClientWatch()
        self.cors = Cors(settings.http)
        self.as_flask = settings.http.compatibility == "flask"
        self._own: StreamServer | None = None
        super().__init__(
            listener,
            application,
            spawn=Pool(settings.http.connections),
            log=None,
            error_log=log,
            environ={"wsgi.multiprocess": True},  # accept one connection at a time: the socket is shared
        )

    def start(self) -> None:
        """Accept connections, and look after those that wait."""
        self.client_watch.start()
        super().start()

    def handle(self, sock: socket.socket, address: Any) -> None:
        """Serve a connection that came by the common socket. Where the worker has one of its own, too, it ends with its
        first answer: Nginx would keep it, and try it in vain when this worker is gone.
        """
        if self._is_tcp:  # a long body is written after its head; without this it waits for a delayed ACK
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handler = self.handler_class(sock, address, self)
        handler.keeps_alive = self._own is None
        handler.handle()

    def _handle_own(self, sock: socket.socket, address: Any) -> None:
        self.handler_class(sock, address, self).handle()

    def listen_too(self, path: Path) -> None:
        """Accept on a Unix socket of this worker's own, which takes the place of what its predecessor left at `path`.

        Raises `OSError`.
        """
        beside = path.with_name(f"{path.name}.new")
        beside.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(beside))
        beside.chmod(0o666)  # Nginx's workers may run as another user
        listener.listen(BACKLOG)
        beside.replace(path)
        self._own = StreamServer(listener, self._handle_own, spawn=self.pool)
        self._own.start()

    def tick(self) -> None:
        """Every second: the date moves on, and connections that were idle for too long are closed."""
        while True:
            self.date = date_header()
            oldest = time.monotonic() - self.idle_seconds
            for connection in [connection for connection, since in self.idle.items() if since < oldest]:
                self.end_of_requests(connection)
            gevent.sleep(TICK_SECONDS)

    @staticmethod
    def end_of_requests(connection: Any) -> None:
        """Let the connection's reader meet its end of file, after what has already arrived."""
        with suppress(OSError):  # the client was quicker
            # Not gevent's own shutdown(): it fails the waiting reader, and a request that has just come would be lost.
            connection._sock.shutdown(socket.SHUT_RD)

    def drain(self, seconds: float) -> int:
        """Accept nothing more, close idle connections, wait for the busy ones; the number of those aborted."""
        self.draining = True
        self.stop_accepting()
        if self._own is not None:
            self._own.close()  # its file stays: Nginx gets ECONNREFUSED and turns to another worker
        if self.idle:
            gevent.sleep(LINGER_SECONDS)
        self.closing = True
        for connection in list(self.idle):
            self.end_of_requests(connection)
        self.pool.join(timeout=seconds)
        abandoned = len(self.pool)
        self.stop(timeout=0)
        self.client_watch.stop()
        return abandoned
