"""`Acceptor`: accepts connections while there is room, and makes room, or says that there is none."""

import errno
import logging
import os
import resource
import time
from contextlib import suppress
from typing import Any, Protocol

from gevent.server import StreamServer

log = logging.getLogger(__name__)

# Descriptors for what is not a client's connection: logs, counters, sockets of model servers.
OTHER_DESCRIPTORS = 128
# Connections beyond the limit that are told so at the same time; further ones are closed.
MAX_TURNED_AWAY = 128
# A head that takes longer while others wait for room makes room, as idle connections do.
MIN_HEAD_SECONDS = 1.0
LOG_PAUSE_SECONDS = 10.0  # between two lines about the same


class Room(Protocol):
    """What an acceptor sees of the worker's server, which all its acceptors share."""

    pool: Any
    max_connections: int
    header_seconds: float
    idle: dict[Any, float]
    heads: dict[Any, float]


def connections_within_limits(connections: int) -> int:
    """At most so many, as there are file descriptors for; the process's soft limit is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + MAX_TURNED_AWAY + OTHER_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft < wanted:
            allowed = max(1, soft - MAX_TURNED_AWAY - OTHER_DESCRIPTORS)
            log.warning("%d open connections: no more fit into the limit of %d file descriptors", allowed, soft)
            return allowed
    return connections


class Scarcity:
    """What is done where room or descriptors run out, for all sockets that a worker accepts on."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._reserve: int | None = _any_descriptor()
        self._logged_at = -LOG_PAUSE_SECONDS
        self._unlogged = 0

    def make_room(self) -> bool:
        """End the connection that has been idle for the longest time, or whose head has; whether there was one."""
        handler = next(iter(self._room.idle), None)
        if handler is not None:
            self._room.idle[handler] = self._room.idle.pop(handler)  # the next one is another
            handler.end_of_requests()
            return True
        handler, deadline = next(iter(self._room.heads.items()), (None, 0.0))
        if handler is None or time.monotonic() < deadline - self._room.header_seconds + MIN_HEAD_SECONDS:
            return False
        self._room.heads[handler] = self._room.heads.pop(handler)
        handler.time_out()
        return True

    def drop_next(self, listener: Any) -> None:
        """Close the next connection, which no descriptor is left for; otherwise it would hang."""
        self.make_room()
        self._give_reserve()
        with suppress(OSError):
            os.close(listener._accept()[0])
        with suppress(OSError):
            self._reserve = _any_descriptor()
        self.warn("the limit of file descriptors is reached")

    def warn(self, reason: str) -> None:
        """A line in the log, at most one in `LOG_PAUSE_SECONDS`."""
        self._unlogged += 1
        now = time.monotonic()
        if now >= self._logged_at + LOG_PAUSE_SECONDS:
            log.warning("%d connections turned away: %s", self._unlogged, reason)
            self._logged_at, self._unlogged = now, 0

    def close(self) -> None:
        """Give the reserve back."""
        self._give_reserve()

    def _give_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
        self._reserve = None


def _any_descriptor() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Acceptor(StreamServer):
    """A `StreamServer` that never stops accepting: what it cannot serve is told so, and closed."""

    room: Room
    scarcity: Scarcity

    def _never_full(self) -> bool:
        return False

    def do_read(self) -> Any:
        """The next connection; nothing where none can be had."""
        try:
            return super().do_read()
        except OSError as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self.scarcity.drop_next(self.socket)
        return None

    def do_handle(self, *connection: Any) -> None:
        """Serve a connection, also beyond the limit where an idle one makes room; others are turned away."""
        beyond = len(self.room.pool) - self.room.max_connections
        if beyond >= MAX_TURNED_AWAY:
            self.scarcity.warn("too many are open")
            self.do_close(*connection)
            return
        super().do_handle(*connection, beyond < 0 or self.scarcity.make_room())
