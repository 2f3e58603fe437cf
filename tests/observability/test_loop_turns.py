"""The turns of an event loop, by a clock that the work itself moves on."""

from collections.abc import Iterator

import gevent
import pytest
from prometheus_client import REGISTRY

from wsgiapp.observability.loop_turns import LoopTurns
from wsgiapp.observability.metrics import LOOP_TURN_SECONDS


class Clock:
    """Stands still but for `work`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> Iterator[LoopTurns]:
    turns = LoopTurns(gevent.get_hub().loop, clock)
    turns.start()
    gevent.sleep(0.001)  # into a turn whose beginning was seen
    turns.take()
    yield turns
    turns.stop()


def test_each_turn_is_measured(clock: Clock, turns: LoopTurns) -> None:
    def work() -> None:
        clock.work(2.0)
        gevent.sleep(0.001)
        clock.work(0.5)
        gevent.sleep(0.001)
        clock.work(0.0001)

    gevent.spawn(work).join()
    gevent.sleep(0.001)
    count, seconds, others = turns.take()
    assert others == [2.0, 0.5]
    assert count >= 1 and seconds == pytest.approx(0.0001)
    assert turns.take()[2] == []


def test_what_runs_in_one_turn_counts_together(clock: Clock, turns: LoopTurns) -> None:
    gevent.joinall([gevent.spawn(clock.work, 0.25) for _ in range(6)])
    gevent.sleep(0.001)
    assert turns.take()[2] == [1.5]


def test_nothing_is_measured_after_the_end(clock: Clock, turns: LoopTurns) -> None:
    turns.stop()
    turns.take()
    gevent.spawn(clock.work, 2.0).join()
    gevent.sleep(0.001)
    assert turns.take() == (0, 0.0, [])


def test_the_histogram(clock: Clock, turns: LoopTurns, monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"wsgiapp_event_loop_turn_seconds{name}", labels) or 0.0

    monkeypatch.setattr("wsgiapp.observability.loop_turns.RECORD_SECONDS", 0.001)
    before = sample("_count"), sample("_sum"), sample("_bucket", le="0.05"), sample("_bucket", le="0.1")
    LOOP_TURN_SECONDS.observe_short(10, 0.002)
    gevent.spawn(clock.work, 0.07).join()
    recording = gevent.spawn(turns.record_regularly)
    with gevent.Timeout(30):
        while sample("_bucket", le="0.1") == sample("_bucket", le="0.05") + before[3] - before[2]:
            gevent.sleep(0.001)
    recording.kill()
    assert sample("_count") - before[0] >= 11
    assert sample("_sum") - before[1] == pytest.approx(0.072)
