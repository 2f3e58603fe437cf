"""The load generator against real servers that misbehave in one way each."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import pytest

from bench.cases import Case, ConstantCase, post_json
from bench.loadgen import KEPT_CLOSED, run
from bench.outcome import Load, Outcome
from support.processes import free_port

RIGHT = b'{"labels":"POS"}'
CASES = [ConstantCase(post_json("/lstm/predict", {"line": f"{number}"}), RIGHT) for number in range(3)]
Talk = Callable[[socket.socket], bool]


def answer(body: bytes = RIGHT, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def read_request(connection: socket.socket) -> bytes:
    """A whole request; empty when the client has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


class Server:
    """A thread a connection; `talk` answers one request and says whether the connection goes on."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.requests: list[bytes] = []

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while request := read_request(connection):
                    self.requests.append(request)
                    if not self._talk(connection):
                        return
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def served(talk: Talk) -> Iterator[Server]:
    server = Server(talk)
    thread = threading.Thread(target=server.accept)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


def sends(*pieces: bytes, pause: float = 0.0, keeps: bool = True) -> Talk:
    def talk(connection: socket.socket) -> bool:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            connection.sendall(piece)
        return keeps

    return talk


def closed(port: int, **changed: float) -> Load:
    values = {"connections": 2, "seconds": 0.2, "warm_up_seconds": 0.05, "timeout_seconds": 2.0, **changed}
    return Load("127.0.0.1", port, **values)  # type: ignore[arg-type]


def measured(port: int, cases: Sequence[Case] = CASES, more_than: int = 0, **changed: float) -> Outcome:
    """What came of a closed loop that lasted until there was something to tell, also on a busy machine."""
    outcome = Outcome()
    for seconds in (0.2, 1.0, 5.0, 25.0):
        outcome = run(closed(port, seconds=seconds, **changed), cases)
        if outcome.right + outcome.errors.total() > more_than and "unanswered" not in outcome.errors:
            break
    return outcome


def test_right_answers_on_kept_connections() -> None:
    with served(sends(answer())) as server:
        outcome = measured(server.port, more_than=20)
    assert outcome.right > 20 and not outcome.errors
    assert outcome.throughput == pytest.approx(outcome.right / outcome.seconds)
    assert server.connections in (2, 4, 6, 8)  # two a run
    assert {request.rpartition(b"\r\n")[2] for request in server.requests} == {b'{"line": "%d"}' % i for i in range(3)}
    assert b"Connection: close" not in server.requests[0]


def test_a_connection_for_each_request() -> None:
    with served(sends(answer(more="Connection: close\r\n"), keeps=False)) as server:
        outcome = measured(server.port, more_than=20, keep_alive=False)
    assert outcome.right > 20 and not outcome.errors
    assert server.connections >= outcome.right
    assert all(b"\r\nConnection: close\r\n" in request for request in server.requests)


def test_a_server_that_closes_though_nobody_asked_is_connected_to_again() -> None:
    with served(sends(answer(more="Connection: close\r\n"), keeps=False)) as server:
        outcome = measured(server.port, more_than=20)
    assert outcome.right > 20 and not outcome.errors


@pytest.mark.parametrize("cut", [1, 30, len(answer()) - len(RIGHT), len(answer()) - 1])
def test_an_answer_in_pieces(cut: int) -> None:
    whole = answer()
    with served(sends(whole[:cut], whole[cut:], pause=0.005)) as server:
        outcome = measured(server.port, more_than=5)
    assert outcome.right > 5 and not outcome.errors


def test_a_long_request_and_a_long_answer() -> None:
    body = bytes(3_000_000)
    cases = [ConstantCase(post_json("/", {"line": "x" * 5_000_000}), body)]
    with served(sends(answer(body))) as server:
        outcome = measured(server.port, cases, more_than=1, timeout_seconds=30.0)
    assert outcome.right > 1 and not outcome.errors
    assert len(server.requests[0]) > 5_000_000


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(b'{"labels":"NEG"}'), "wrong"),
        (answer(b"{}"), "wrong"),
        (answer(status="503 Service Unavailable"), "status 503"),
        (answer() + b"more", "malformed"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + RIGHT, "malformed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
    ],
)
def test_what_is_no_right_answer_is_counted_by_kind(said: bytes, kind: str) -> None:
    with served(sends(said)) as server:
        outcome = measured(server.port)
    assert outcome.right == 0 and outcome.throughput == 0
    assert set(outcome.errors) == {kind}
    assert outcome.sample.startswith(kind)
    assert len(outcome.rejections) == (outcome.errors[kind] if kind == "status 503" else 0)


def test_a_wrong_answer_among_right_ones() -> None:
    said = iter([answer(), answer(b"{}"), *[answer()] * 100_000])
    with served(lambda connection: connection.sendall(next(said)) is None) as server:
        outcome = run(closed(server.port, connections=1, warm_up_seconds=0.0, seconds=1.0), CASES)
    assert outcome.errors == {"wrong": 1} and outcome.right > 10


def test_a_connection_that_is_closed_in_the_middle() -> None:
    with served(sends(answer()[:-3], keeps=False)) as server:
        outcome = measured(server.port)
    assert outcome.right == 0 and set(outcome.errors) == {"closed"}


def test_a_kept_connection_that_is_closed_instead_of_an_answer_is_told_apart() -> None:
    """A service may close it just when a request is under way; one that closed it before is not asked on it."""
    turns = cycle([True, False])
    with served(lambda connection: next(turns) and connection.sendall(answer()) is None) as server:
        outcome = run(closed(server.port, connections=1, warm_up_seconds=0.0, seconds=1.0), CASES)
    assert set(outcome.errors) == {KEPT_CLOSED} and outcome.right > 2
    with served(sends(answer(), keeps=False)) as server:
        outcome = run(closed(server.port, connections=1, warm_up_seconds=0.0, rate=50.0, seconds=1.0), CASES)
    assert not outcome.errors and outcome.right > 10


def test_nobody_listens() -> None:
    started = time.monotonic()
    outcome = measured(free_port())
    assert set(outcome.errors) == {"rejected"}
    assert outcome.errors["rejected"] < 50  # it waits before it tries again
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("rate", [0.0, 50.0])
def test_a_server_that_never_answers_does_not_hang_it(rate: float) -> None:
    with served(lambda connection: time.sleep(60) is None) as server:
        started = time.monotonic()
        outcome = run(closed(server.port, rate=rate, timeout_seconds=0.2, connections=30, seconds=0.5), CASES)
    assert outcome.right == 0 and outcome.errors["timeout"] > 0 and set(outcome.errors) <= {"timeout", "not sent"}
    assert time.monotonic() - started < 30


def test_the_open_loop_keeps_its_rate() -> None:
    with served(sends(answer())) as server:
        outcome = run(closed(server.port, rate=200, connections=50, seconds=1.0), CASES)
    assert not outcome.errors
    assert outcome.right == pytest.approx(200, abs=2)
    assert server.connections < 50


def test_the_open_loop_counts_from_the_intended_time() -> None:
    """One connection, and a server that stalls once for half a second: everything that was due meanwhile is late."""
    stalls = iter([0.0] * 30 + [0.5] + [0.0] * 10_000)

    def talk(connection: socket.socket) -> bool:
        time.sleep(next(stalls))
        connection.sendall(answer())
        return True

    with served(talk) as server:
        outcome = run(closed(server.port, rate=100, connections=1, seconds=1.0, warm_up_seconds=0.0), CASES)
    late = [latency for latency in outcome.latencies if latency > 0.1]
    assert outcome.right == pytest.approx(100, abs=2)
    assert len(late) >= 30  # those of 0.4 s; a closed loop would have seen a single one
    assert max(late) > 0.45


def test_the_open_loop_gives_up_what_finds_no_connection() -> None:
    with served(lambda connection: time.sleep(60) is None) as server:
        outcome = run(closed(server.port, rate=100, connections=2, seconds=0.5, timeout_seconds=0.3), CASES)
    assert outcome.right == 0 and set(outcome.errors) == {"timeout", "not sent"}
    assert outcome.errors.total() == pytest.approx(50, abs=2)
