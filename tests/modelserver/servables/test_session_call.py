"""Where a call runs, by how long the first runs take."""

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.tensorflow_child import run_child
from wsgiapp.modelserver.servables.session_call import CALLERS_THREAD, POOL, TRIALS, SessionCall, Trials

ALL_ARE_LONG, ALL_ARE_SHORT = -1.0, math.inf


class Session:
    """Prepares calls that answer where they ran, after `work` with their number."""

    def __init__(self, work: Callable[[int], None] = lambda number: None) -> None:
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


def ran_in(call: SessionCall, times: int) -> list[int]:
    return [call(None)[0] for _ in range(times)]


@pytest.mark.parametrize(
    ("seconds", "is_long"),
    [
        ([1.5] * TRIALS, True),
        ([0.5] * TRIALS, False),
        ([1.0] * TRIALS, False),
        ([9.0] * (TRIALS - 1) + [0.5], False),
        ([0.5] + [9.0] * (TRIALS - 1), False),
    ],
    ids=["long", "short", "at the limit", "short at last", "short at first"],
)
def test_a_call_is_long_when_its_fastest_trial_is(seconds: list[float], is_long: bool) -> None:
    trials = Trials(1.0)
    assert [trials.record(each) for each in seconds] == [False] * (TRIALS - 1) + [is_long]
    assert trials.are_over
    assert not trials.record(9.0), "one that was under way at the last trial"


def test_short_calls_stay_in_their_caller_s_thread() -> None:
    session = Session()
    call = SessionCall(session.prepare, Trials(ALL_ARE_SHORT))
    assert ran_in(call, TRIALS + 5) == [CALLERS_THREAD] * (TRIALS + 5)
    assert session.prepared == [CALLERS_THREAD]


def test_long_calls_move_to_the_pool() -> None:
    session = Session()
    call = SessionCall(session.prepare, Trials(ALL_ARE_LONG))
    assert ran_in(call, TRIALS + 5) == [CALLERS_THREAD] * TRIALS + [POOL] * 5
    assert session.prepared == [CALLERS_THREAD, POOL]


def test_a_call_that_fails_is_not_a_trial() -> None:
    def work(number: int) -> None:
        if number <= TRIALS:
            raise ValueError(number)

    call = SessionCall(Session(work).prepare, Trials(ALL_ARE_LONG))
    for number in range(1, TRIALS + 1):
        with pytest.raises(ValueError, match=str(number)):
            call(None)
    assert ran_in(call, TRIALS + 1) == [CALLERS_THREAD] * TRIALS + [POOL]


def test_first_calls_at_the_same_time_move_once() -> None:
    together = threading.Barrier(4 * TRIALS)
    session = Session()
    call = SessionCall(session.prepare, Trials(ALL_ARE_LONG))
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


def test_tensorflow_runs_operations_where_it_is_told_to(memory_models: Path) -> None:
    """Its pool takes CPU time for the runs of long calls, and none for those of short ones; the answers are alike."""
    found = {
        seconds: run_child("pool", str(memory_models / "many"), str(seconds), "50")
        for seconds in (ALL_ARE_LONG, ALL_ARE_SHORT)
    }
    nanoseconds = {seconds: int(lines[0]) for seconds, lines in found.items()}
    assert nanoseconds[ALL_ARE_LONG] > 0
    assert nanoseconds[ALL_ARE_SHORT] == 0
    long, short = (json.loads(lines[1]) for lines in found.values())
    assert long == pytest.approx(short)
