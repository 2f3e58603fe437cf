"""Long work in pieces: one a turn of the event loop, in the order of arrival, however busy it is."""

from collections import Counter
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from wsgiapp.web.turns import give_way

FAR = 30.0


@pytest.fixture
def turn() -> Iterator[list[int]]:
    """The number of the event loop's present turn."""
    number = [0]

    def count() -> None:
        number[0] += 1

    watcher = gevent.get_hub().loop.check(priority=2)
    watcher.start(count)
    yield number
    watcher.stop()


def test_a_turn_does_one_piece_of_one_of_them(turn: list[int]) -> None:
    done: list[tuple[int, str, int]] = []

    def work(name: str) -> None:
        for piece in range(5):
            give_way()
            done.append((turn[0], name, piece))

    gevent.joinall([gevent.spawn(work, name) for name in "abcdef"], timeout=FAR, raise_error=True)
    assert max(Counter(number for number, _, _ in done).values()) == 1
    assert [(name, piece) for _, name, piece in done] == [(name, piece) for piece in range(5) for name in "abcdef"]


def test_others_run_between_two_pieces(turn: list[int]) -> None:
    left, right = socket.socketpair()
    seen: list[int] = []

    def answer() -> None:
        while right.recv(1):
            seen.append(turn[0])
            right.sendall(b"x")

    other = gevent.spawn(answer)
    for _ in range(20):
        left.sendall(b"x")
        before = len(seen)
        for _ in range(5):
            give_way()
        assert len(seen) > before
        left.recv(1)
    left.close()
    other.join(FAR)


def test_one_that_is_killed_harms_no_one() -> None:
    first, second = gevent.spawn(give_way), gevent.spawn(give_way)
    gevent.sleep(0)
    first.kill(block=False)
    second.get(timeout=FAR)
    give_way()


def test_a_busy_loop_comes_to_it() -> None:
    def spin() -> None:
        while True:
            gevent.sleep(0)

    busy = gevent.spawn(spin)
    try:
        with gevent.Timeout(FAR):
            for _ in range(50):
                give_way()
    finally:
        busy.kill()
