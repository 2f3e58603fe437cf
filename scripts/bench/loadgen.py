"""The load generator: one thread, non-blocking sockets, epoll, requests rendered beforehand.

It shares the machine with what it measures, so it does little: it finds the body by its Content-Length and compares
it with bodies that were judged before; only a body that was never seen is parsed.
"""

from __future__ import annotations

import errno
import re
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from itertools import cycle

from bench.cases import Case
from bench.outcome import CpuClock, Load, Outcome

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
REJECTIONS = (b"429", b"503")
KEPT_CLOSED = "kept connection closed"
RECEIVE_BYTES = 256 * 1024
# Known right bodies kept of a case; batches of other shapes differ in the last digits, so there are several.
KNOWN_BODIES = 256
# After a rejected connection, before the next try: without it a service that is down would be hammered.
PAUSE_SECONDS = 0.05
# Requests a second from which on a millisecond's precision has to do: a finer one would take a third of a core.
FAST = 1000


def run(load: Load, cases: Sequence[Case]) -> Outcome:
    """Send the load and return what came of it."""
    return _Generator(load, cases).run()


class _Prepared:
    """A case as it is sent, and its right bodies so far."""

    __slots__ = ("case", "known", "request")

    def __init__(self, case: Case, keep_alive: bool) -> None:
        self.case = case
        head, separator, body = case.request.partition(b"\r\n\r\n")
        self.request = case.request if keep_alive else head + b"\r\nConnection: close" + separator + body
        self.known: set[bytes] = set()

    def accepts(self, body: bytes) -> bool:
        if body in self.known:
            return True
        if not self.case.accepts(body):
            return False
        if len(self.known) < KNOWN_BODIES:
            self.known.add(body)
        return True


class _Connection:
    """A socket, the request under way on it, and what has come of the answer."""

    __slots__ = ("chunks", "due", "expected", "is_reused", "missing", "sent_at", "socket", "status", "unsent")

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.is_reused = False
        self.begin(None, 0.0)

    def begin(self, expected: _Prepared | None, due: float) -> None:
        self.expected = expected
        self.due = due
        self.sent_at = due
        self.unsent = b""
        self.chunks: list[bytes] = []
        self.missing = -1  # bytes of the body still to come; -1: the head is not complete
        self.status = b""


class _Generator:
    def __init__(self, load: Load, cases: Sequence[Case]) -> None:
        self._load = load
        self._cases = cycle([_Prepared(case, load.keep_alive) for case in cases])
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._busy: dict[_Connection, None] = {}  # in the order of sending, so the first one times out first
        self._idle: list[_Connection] = []
        self._resting: deque[tuple[float, _Connection]] = deque()
        self._outcome = Outcome()
        self._opened = 0
        # Used again and again: recv() would get fresh pages for each answer.
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    def run(self) -> Outcome:
        now = time.perf_counter()
        self._from = now + self._load.warm_up_seconds
        self._until = self._from + self._load.seconds
        try:
            if self._load.rate > 0:
                self._open_loop(now)
            else:
                self._closed_loop(now)
        finally:
            for connection in list(self._by_fd.values()):
                self._drop(connection)
            self._epoll.close()
        return self._outcome

    def _closed_loop(self, now: float) -> None:
        for _ in range(self._load.connections):
            self._send(_Connection(), now)
        while (now := self._turn(self._from)) < self._from:
            pass
        self._outcome = Outcome()
        started = now
        clock = CpuClock(self._load.watched)
        while (now := self._turn(self._until)) < self._until:
            pass
        clock.stop(self._outcome)
        self._outcome.seconds = now - started
        for connection in self._busy:  # a service that answers nothing must not look like one without errors
            if now - connection.sent_at > self._load.seconds:
                self._outcome.wrong("unanswered", "a request outlived the measurement")

    def _open_loop(self, now: float) -> None:
        interval = 1 / self._load.rate
        due = now
        waiting: deque[float] = deque()
        clock: CpuClock | None = None
        stopped = False
        while True:
            now = time.perf_counter()
            if clock is None and now >= self._from:
                clock = CpuClock(self._load.watched)
            while due <= now and due < self._until:
                waiting.append(due)
                due += interval
            self._send_waiting(waiting, now)
            if clock and not stopped and now >= self._until:
                clock.stop(self._outcome)
                stopped = True
            if due >= self._until and stopped and not self._busy and not waiting:
                break
            next_event = min(due if due < self._until else self._until + (3600 if stopped else 0), now + PAUSE_SECONDS)
            if self._resting:
                next_event = min(next_event, self._resting[0][0])
            if self._load.rate > FAST:
                self._turn(next_event)
            elif self._happens(next_event):
                self._turn(0)
            else:
                self._sweep(time.perf_counter())
        self._outcome.seconds = self._load.seconds

    def _send_waiting(self, waiting: deque[float], now: float) -> None:
        """Send what is due, the oldest first; drop what has waited for too long."""
        while waiting:
            if now - waiting[0] > self._load.timeout_seconds:
                self._count_error("not sent", f"no free connection of {self._load.connections}", waiting.popleft())
            elif self._idle:
                self._send(self._open_where_possible(), waiting.popleft())
            elif self._opened < self._load.connections:
                self._opened += 1
                self._send(_Connection(), waiting.popleft())
            else:
                break

    def _open_where_possible(self) -> _Connection:
        """The idle connection that was used last; as HTTP clients do, it looks first whether the service closed it."""
        connection = self._idle.pop()
        if connection.socket is not None:
            try:
                if not connection.socket.recv(1, socket.MSG_PEEK):
                    self._drop(connection)
            except BlockingIOError:
                pass
            except OSError:
                self._drop(connection)
        return connection

    def _happens(self, until: float) -> bool:
        """Whether there is an event until then: select() knows microseconds, where epoll rounds up to milliseconds."""
        return bool(select.select([self._epoll], [], [], max(0.0, until - time.perf_counter()))[0])

    def _turn(self, until: float) -> float:
        """Handle what has happened; wait for it until `until` at most. The time now."""
        now = time.perf_counter()
        for fd, event in self._epoll.poll(min(max(0.0, until - now), PAUSE_SECONDS)):
            if connection := self._by_fd.get(fd):
                if event & select.EPOLLOUT:
                    self._write(connection)
                if event & ~select.EPOLLOUT:
                    self._read(connection)
        now = time.perf_counter()
        self._sweep(now)
        return now

    def _sweep(self, now: float) -> None:
        """Give up what waits for too long, and let connections that have rested go on."""
        while self._busy:
            oldest = next(iter(self._busy))
            if now - oldest.sent_at <= self._load.timeout_seconds:
                break
            self._fail(oldest, "timeout", f"no answer in {self._load.timeout_seconds:g} s")
        while self._resting and self._resting[0][0] <= now:
            self._free(self._resting.popleft()[1], now)

    def _free(self, connection: _Connection, now: float) -> None:
        """The connection's next request: at once in a closed loop, when one is due in an open one."""
        if self._load.rate > 0:
            self._idle.append(connection)
        elif now < self._until:
            self._send(connection, now)

    def _send(self, connection: _Connection, due: float) -> None:
        connection.begin(next(self._cases), due)
        connection.sent_at = time.perf_counter() if self._load.rate > 0 else due
        assert connection.expected is not None
        connection.unsent = connection.expected.request
        self._busy[connection] = None
        connection.is_reused = connection.socket is not None
        if connection.socket is None and not self._connect(connection):
            return
        self._write(connection)

    def _connect(self, connection: _Connection) -> bool:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket = sock
        self._by_fd[sock.fileno()] = connection
        code = sock.connect_ex((self._load.host, self._load.port))
        self._epoll.register(sock, select.EPOLLIN | select.EPOLLRDHUP)
        if code not in (0, errno.EINPROGRESS):
            self._fail(connection, "rejected", errno.errorcode.get(code, str(code)))
            return False
        return True

    def _write(self, connection: _Connection) -> None:
        sock = connection.socket
        if sock is None or not connection.unsent:
            return
        try:
            sent = sock.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except ConnectionRefusedError as exc:
            self._fail(connection, "rejected", str(exc))
            return
        except OSError as exc:
            self._fail_closed(connection, str(exc))
            return
        partial = sent < len(connection.unsent)
        if partial or connection.unsent is not connection.expected.request:  # type: ignore[union-attr]
            events = select.EPOLLIN | select.EPOLLRDHUP | (select.EPOLLOUT if partial else 0)
            self._epoll.modify(sock, events)
        connection.unsent = connection.unsent[sent:] if partial else b""

    def _read(self, connection: _Connection) -> None:
        sock = connection.socket
        assert sock is not None
        try:
            received = sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except ConnectionRefusedError as exc:
            self._fail(connection, "rejected", str(exc))
            return
        except OSError as exc:
            self._fail_closed(connection, str(exc))
            return
        if not received:
            if connection.expected is None:  # an idle connection, which a server may close
                self._drop(connection)
            else:
                self._fail_closed(connection, "the connection was closed before the answer was whole")
            return
        data = bytes(self._buffer[:received])
        if connection.expected is None:
            self._fail(connection, "malformed", f"unasked: {data[:200]!r}")
        elif connection.missing < 0:
            self._read_head(connection, b"".join([*connection.chunks, data]) if connection.chunks else data)
        else:
            connection.chunks.append(data)
            connection.missing -= len(data)
            if connection.missing <= 0:
                self._finish(connection, b"".join(connection.chunks))

    def _read_head(self, connection: _Connection, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            connection.chunks = [data]
            return
        head = data[:end]
        length = CONTENT_LENGTH.search(head)
        if length is None or not head.startswith(b"HTTP/1."):
            self._fail(connection, "malformed", repr(head[:200]))
            return
        connection.status = head[9:12]
        if CLOSES.search(head):
            connection.status += b" close"
        body = data[end + 4 :]
        connection.missing = int(length[1]) - len(body)
        connection.chunks = [body]
        if connection.missing <= 0:
            self._finish(connection, body)

    def _finish(self, connection: _Connection, body: bytes) -> None:
        now = time.perf_counter()
        expected, due = connection.expected, connection.due
        assert expected is not None
        status, _, closes = connection.status.partition(b" ")
        del self._busy[connection]
        if connection.missing < 0:
            self._count_error("malformed", "more bytes than Content-Length says", due)
            closes = b"close"
        elif status != b"200":
            if status in REJECTIONS and self._counts(due):
                self._outcome.rejections.append(now - connection.sent_at)
            self._count_error(f"status {status.decode('latin-1')}", repr(body[:200]), due)
        elif not expected.accepts(body):
            self._count_error("wrong", repr(body[:200]), due)
        elif self._counts(due):
            self._outcome.latencies.append(now - due)
            self._outcome.answered_at.append(now)
        connection.begin(None, 0.0)
        if closes or not self._load.keep_alive:
            self._drop(connection)
        self._free(connection, now)

    def _counts(self, due: float) -> bool:
        """Whether a request belongs to the measurement; in a closed loop the time of its answer decides."""
        return self._load.rate <= 0 or due >= self._from

    def _count_error(self, kind: str, detail: str, due: float) -> None:
        if self._counts(due):
            self._outcome.wrong(kind, detail)

    def _fail(self, connection: _Connection, kind: str, detail: str) -> None:
        self._count_error(kind, detail, connection.due)
        self._busy.pop(connection, None)
        self._drop(connection)
        connection.begin(None, 0.0)
        self._resting.append((time.perf_counter() + PAUSE_SECONDS, connection))

    def _fail_closed(self, connection: _Connection, detail: str) -> None:
        """A connection that had answered before and was closed without any of this answer crossed with the request:
        HTTP lets clients send that one again (RFC 9112, 9.3.1), and most libraries do. It is told apart from others.
        """
        is_crossed = connection.is_reused and connection.missing < 0 and not connection.chunks
        self._fail(connection, KEPT_CLOSED if is_crossed else "closed", detail)

    def _drop(self, connection: _Connection) -> None:
        if connection.socket is not None:
            self._by_fd.pop(connection.socket.fileno(), None)
            connection.socket.close()  # epoll forgets it, too
            connection.socket = None
