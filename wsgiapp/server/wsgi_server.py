"""One worker's HTTP server: gevent's pywsgi with limits, and a stop that loses no request."""

import logging
import socket
import time
from pathlib import Path
from typing import Any

import gevent
from gevent import pywsgi
from gevent.pool import Pool

from wsgiapp.server.acceptor import Acceptor, Scarcity, connections_within_limits
from wsgiapp.server.body import Body
from wsgiapp.server.client_watch import ClientWatch
from wsgiapp.server.connection import Handler, date_header
from wsgiapp.settings.schema import Settings
from wsgiapp.web.access_log import Stream
from wsgiapp.web.cors import Cors

log = logging.getLogger(__name__)

# A busy proxy uses an idle connection again within milliseconds, and closing it just then costs the proxy a second try.
# So a drain first lets those end with an answer that says `Connection: close`, and then closes what is still idle.
LINGER_SECONDS = 0.2
# How often the server looks at the clock, for the answers' dates and for clients that are silent.
TICK_SECONDS = 1.0
BACKLOG = 1024  # connections that wait to be accepted on a worker's own socket


class Server(Acceptor, pywsgi.WSGIServer):
    """Serves `application` on `listener` until `drain` is called. What it rejects itself is in `access_log`."""

    handler_class = Handler

    def __init__(
        self, listener: socket.socket, application: Any, settings: Settings, access_log: Stream | None = None
    ) -> None:
        http = settings.http
        self.access_log = access_log
        self.max_request_line_bytes = settings.limits.request_line_bytes
        self.max_connections = connections_within_limits(http.connections)
        self.idle_seconds = http.idle_seconds
        self.header_seconds = http.header_seconds
        self.body_seconds = http.body_seconds
        self.body_bytes_per_second = http.body_bytes_per_second
        self._is_tcp = listener.family in (socket.AF_INET, socket.AF_INET6)
        self.idle: dict[Handler, float] = {}  # connections that wait for a request, and since when
        self.heads: dict[Handler, float] = {}  # those whose request has begun, and when its head must be whole
        self.bodies: dict[Body, None] = {}  # that are waited for
        self.date = date_header()
        self.draining = False  # accepts nothing, closes each connection with its next answer
        self.closing = False  # closes connections that wait for a request, too
        self.client_watch = ClientWatch()
        self.cors = Cors(http)
        self.as_flask = http.compatibility == "flask"
        self.room, self.scarcity = self, Scarcity(self)
        self._own: OwnSocket | None = None
        super().__init__(
            listener,
            application,
            spawn=Pool(),
            log=None,
            error_log=log,
            environ={"wsgi.multiprocess": True},  # accept one connection at a time: the socket is shared
        )
        self.full = self._never_full

    def start(self) -> None:
        """Accept connections, and look after those that wait."""
        self.client_watch.start()
        super().start()

    def handle(self, sock: socket.socket, address: Any, has_room: bool) -> None:
        """Serve a connection that came by the common socket. Where the worker has one of its own, too, it ends with its
        first answer: Nginx would keep it, and try it in vain when this worker is gone.
        """
        if self._is_tcp:  # a long body is written after its head; without this it waits for a delayed ACK
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.serve(sock, address, has_room, keeps_alive=self._own is None)

    def serve(self, sock: socket.socket, address: Any, has_room: bool, *, keeps_alive: bool) -> None:
        """Serve a connection to its end; where there is no room, with a rejection."""
        handler = self.handler_class(sock, address, self)
        handler.keeps_alive = keeps_alive
        handler.has_room = has_room
        if not has_room:
            self.scarcity.warn("too many are open")
        handler.handle()

    def listen_too(self, path: Path) -> None:
        """Accept on a Unix socket of this worker's own, which takes the place of what its predecessor left at `path`.

        Raises `OSError`.
        """
        beside = path.with_name(f"{path.name}.new")
        beside.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(beside))
        beside.chmod(0o660)  # Nginx's workers may run as another user of the folder's group
        listener.listen(BACKLOG)
        beside.replace(path)
        self._own = OwnSocket(listener, self)
        self._own.start()

    def tick(self) -> None:
        """Every second: the date moves on, and connections that were idle or too slow for too long are ended."""
        while True:
            self.date = date_header()
            now = time.monotonic()
            for handler in [handler for handler, since in self.idle.items() if since < now - self.idle_seconds]:
                handler.end_of_requests()
            for late in [handler for handler, deadline in self.heads.items() if deadline < now]:
                late.time_out()
            for body in [body for body in self.bodies if body.deadline < now]:
                body.time_out()
            gevent.sleep(TICK_SECONDS)

    def drain(self, seconds: float) -> int:
        """Accept nothing more, close idle connections, wait for the busy ones; the number of those aborted."""
        self.draining = True
        self.stop_accepting()
        if self._own is not None:
            self._own.close()  # its file stays: Nginx gets ECONNREFUSED and turns to another worker
        started = time.monotonic()
        if self.idle or self.heads:
            gevent.sleep(LINGER_SECONDS)
        self.closing = True
        begun_before = [handler for handler, deadline in self.heads.items() if deadline < started + self.header_seconds]
        for handler in [*self.idle, *begun_before]:
            handler.end_of_requests()
        self.pool.join(timeout=seconds)
        abandoned = len(self.pool)
        self.stop(timeout=0)
        self.client_watch.stop()
        self.scarcity.close()
        return abandoned


class OwnSocket(Acceptor):
    """Accepts on the worker's own socket, for its `Server`."""

    def __init__(self, listener: socket.socket, server: Server) -> None:
        self._server = server
        self.room, self.scarcity = server, server.scarcity
        super().__init__(listener, spawn=server.pool)
        self.full = self._never_full

    def handle(self, sock: socket.socket, address: Any, has_room: bool) -> None:
        """Serve a connection."""
        self._server.serve(sock, address, has_room, keeps_alive=True)
