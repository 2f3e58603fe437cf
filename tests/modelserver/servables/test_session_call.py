"""Where a call runs, by how long the first ones take."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.tensorflow_child import run_child
from wsgiapp.modelserver.servables.session_call import CALLERS_THREAD, POOL, SHORT_SECONDS, TRIALS, Prepared

LONG_SECONDS = 3 * SHORT_SECONDS


class Session:
    """Prepares calls that answer where they ran, after `work` has been done with their number."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self.prepared: list[int] = []
        self._work = work
        self._calls = 0

    def prepare(self, pool: int) -> Callable[..., list[Any]]:
        self.prepared.append(pool)

        def run(*values: Any) -> list[Any]:
            self._calls += 1
            self._work(self._calls)
            return [pool, *values]

        return run


def compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def ran_in(call: Prepared, times: int) -> list[int]:
    return [call(None)[0] for _ in range(times)]


def test_short_calls_stay_in_their_caller_s_thread() -> None:
    session = Session(lambda number: None)
    call = Prepared(session.prepare)
    assert ran_in(call, TRIALS + 5) == [CALLERS_THREAD] * (TRIALS + 5)
    assert session.prepared == [CALLERS_THREAD]


def test_long_calls_move_to_the_pool() -> None:
    session = Session(lambda number: compute(LONG_SECONDS))
    call = Prepared(session.prepare)
    assert ran_in(call, TRIALS + 5) == [CALLERS_THREAD] * TRIALS + [POOL] * 5
    assert session.prepared == [CALLERS_THREAD, POOL]


@pytest.mark.parametrize(
    "work",
    [
        lambda number: time.sleep(LONG_SECONDS),
        lambda number: compute(LONG_SECONDS) if number != 2 else None,
    ],
    ids=["one that waits", "long ones beside a short one"],
)
def test_what_is_not_long(work: Callable[[int], None]) -> None:
    assert ran_in(Prepared(Session(work).prepare), TRIALS + 2) == [CALLERS_THREAD] * (TRIALS + 2)


def test_a_call_that_fails_is_no_trial() -> None:
    def work(number: int) -> None:
        if number <= TRIALS:
            raise ValueError(number)
        compute(LONG_SECONDS)

    call = Prepared(Session(work).prepare)
    for number in range(1, TRIALS + 1):
        with pytest.raises(ValueError, match=str(number)):
            call(None)
    assert ran_in(call, TRIALS + 1) == [CALLERS_THREAD] * TRIALS + [POOL]


def test_first_calls_at_the_same_time_move_once() -> None:
    together = threading.Barrier(4 * TRIALS)
    session = Session(lambda number: compute(LONG_SECONDS))
    call = Prepared(session.prepare)
    answers: list[Any] = []

    def ask(value: int) -> None:
        together.wait()
        answers.append(call(value)[1])

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(4 * TRIALS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(4 * TRIALS))
    assert session.prepared == [CALLERS_THREAD, POOL]
    assert call(None) == [POOL, None]


def test_tensorflow_does_so(memory_models: Path) -> None:
    """TensorFlow's pool takes CPU time, in seconds, for long runs alone."""
    long, short = (float(run_child("pool", str(memory_models / model), "30")[-1]) for model in ("large", "many"))
    assert long > 0.05
    assert short < 0.02
