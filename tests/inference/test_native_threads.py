"""What waits is dropped at its deadline, what runs is left alone; memory is shared by all event loops of a process."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gevent
import pytest

from wsgiapp.errors import DeadlineExceeded, InvalidField
from wsgiapp.inference.native_threads import NativeThreads
from wsgiapp.pipelines.memory_budget import MemoryBudget

FAR = 60.0
MILLION = 1_000_000


def in_(seconds: float) -> float:
    return time.monotonic() + seconds


class Gate:
    """A function that a thread runs until it is let go, and the size that it reserves first."""

    def __init__(self, budget: MemoryBudget, size: int = 0) -> None:
        self._budget, self._size = budget, size
        self.entered, self.open = threading.Event(), threading.Event()
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        self._budget.reserve(self._size)
        self.entered.set()
        assert self.open.wait(FAR)
        return self._size


@contextmanager
def running(threads: NativeThreads, *gates: Gate) -> Iterator[list[gevent.Greenlet]]:
    """Each gate is held by a thread of its own."""
    greenlets = [gevent.spawn(threads.run, in_(FAR), gate) for gate in gates]
    try:
        wait_until(lambda: all(gate.entered.is_set() for gate in gates))
        yield greenlets
    finally:
        for gate in gates:
            gate.open.set()
        gevent.joinall(greenlets, raise_error=True)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = in_(FAR)
    while not condition():
        assert time.monotonic() < deadline
        gevent.sleep(0.001)


def test_what_waits_for_a_thread_is_dropped_at_its_deadline() -> None:
    budget = MemoryBudget(100 * MILLION)
    threads, gate, late = NativeThreads(1, budget), Gate(budget), Gate(budget)
    with running(threads, gate), pytest.raises(DeadlineExceeded, match="for a thread or memory"):
        threads.run(in_(0.01), late)
    assert threads.run(in_(FAR), lambda: 5) == 5
    assert not late.calls


def test_what_waits_for_memory_is_dropped_at_its_deadline() -> None:
    budget = MemoryBudget(100 * MILLION)
    threads, gate, late = NativeThreads(3, budget), Gate(budget, 90 * MILLION), Gate(budget, 20 * MILLION)
    late.open.set()
    with running(threads, gate):
        with pytest.raises(DeadlineExceeded):
            threads.run(in_(0.01), late)
        assert not late.entered.is_set()
    assert threads.run(in_(FAR), late) == 20 * MILLION


def test_what_waits_for_a_client_that_has_gone_is_dropped() -> None:
    budget = MemoryBudget(100 * MILLION)
    threads, gate, late = NativeThreads(1, budget), Gate(budget), Gate(budget)
    with running(threads, gate):
        waiting = gevent.spawn(threads.run, in_(FAR), late)
        gevent.sleep(0)
        waiting.kill()
    assert threads.run(in_(FAR), lambda: 5) == 5
    assert not late.calls


def test_the_caller_is_answered_at_the_deadline_also_while_its_task_runs() -> None:
    """The task keeps its thread and memory as long as it has them."""
    budget = MemoryBudget(100 * MILLION)
    threads, gate, next_one = NativeThreads(2, budget), Gate(budget, 90 * MILLION), Gate(budget, 50 * MILLION)
    next_one.open.set()
    caller = gevent.spawn(threads.run, in_(0.2), gate)
    wait_until(gate.entered.is_set)
    with pytest.raises(DeadlineExceeded, match="not processed before the deadline"):
        caller.get(timeout=FAR)
    with pytest.raises(DeadlineExceeded):
        threads.run(in_(0.01), next_one)
    gate.open.set()
    assert threads.run(in_(FAR), next_one) == 50 * MILLION


def test_a_task_that_has_to_wait_is_begun_again() -> None:
    budget = MemoryBudget(100 * MILLION)
    threads, gate, second = NativeThreads(3, budget), Gate(budget, 60 * MILLION), Gate(budget, 60 * MILLION)
    second.open.set()
    with running(threads, gate) as (first,):
        waiting = gevent.spawn(threads.run, in_(FAR), second)
        wait_until(lambda: second.calls)
        assert not second.entered.is_set()
        gate.open.set()
        assert waiting.get(timeout=FAR) == first.get(timeout=FAR) == 60 * MILLION
    assert second.calls == 2


def test_what_a_task_raises_is_raised_and_gives_all_back() -> None:
    budget = MemoryBudget(100 * MILLION)
    threads = NativeThreads(1, budget)

    def fails() -> None:
        budget.reserve(90 * MILLION)
        raise ValueError("no picture")

    for _ in range(3):
        with pytest.raises(ValueError, match="no picture"):
            threads.run(in_(FAR), fails)


def test_what_was_raised_keeps_nothing_in_memory() -> None:
    """Its frames have the payload; a cycle would keep it until the garbage collector comes."""

    class Payload:
        pass

    def fails(payload: Payload) -> None:
        raise ValueError("no picture")

    budget = MemoryBudget(100 * MILLION)
    threads, payload = NativeThreads(1, budget), Payload()
    gone = weakref.ref(payload)
    gc.disable()
    try:
        with suppress(ValueError):
            threads.run(in_(FAR), fails, payload)
        del payload
        threads.run(in_(FAR), int)  # the thread lets go of its last task
        wait_until(lambda: gone() is None)
    finally:
        gc.enable()


def test_event_loops_share_the_budget() -> None:
    budget = MemoryBudget(100 * MILLION)
    threads, gate, other = NativeThreads(3, budget), Gate(budget, 60 * MILLION), Gate(budget, 60 * MILLION)
    other.open.set()
    answers: list[int] = []
    elsewhere = threading.Thread(target=lambda: answers.append(threads.run(in_(FAR), other)))
    with running(threads, gate):
        elsewhere.start()
        wait_until(lambda: other.calls)
        assert not other.entered.is_set()
    elsewhere.join(FAR)
    assert answers == [60 * MILLION]


class Picture:
    """What can be watched."""


def fail(picture: Picture) -> None:
    raise InvalidField("img", "not an image")


def test_a_failed_picture_does_not_stay_until_the_collector_comes() -> None:
    threads = NativeThreads(1, MemoryBudget(MILLION))
    threads.run(in_(FAR), len, b"")
    picture = Picture()
    watched = weakref.ref(picture)
    gc.disable()
    try:
        said = ""
        try:
            threads.run(in_(FAR), fail, picture)
        except InvalidField as exc:
            said = str(exc)
        threads.run(in_(FAR), len, b"")  # the thread forgets its last task
        del picture
        assert said == "img: not an image" and watched() is None
    finally:
        gc.enable()
