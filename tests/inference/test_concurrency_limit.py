"""How many calls at a time: simulated services, with a clock that the test moves."""

import pytest

from wsgiapp.inference.concurrency_limit import MAX_QUEUE_SIZE, MIN_LIMIT, ConcurrencyLimit


class Service:
    """`capacity` calls a second, each of at least `alone` seconds: what is more in flight makes all take longer."""

    def __init__(self, limit: ConcurrencyLimit, alone: float, capacity: float) -> None:
        self.limit, self.alone, self.capacity = limit, alone, capacity
        self.now = 0.0

    def run(self, seconds: float, offered: float) -> None:
        """Calls come at a rate, in small steps; what the limit does not let in waits."""
        until = self.now + seconds
        while self.now < until:
            demand = offered * max(self.alone, 1 / self.capacity)  # in flight, by Little's law
            is_full = demand > self.limit.limit or offered > self.capacity
            inflight = max(1, self.limit.limit if is_full else round(demand))
            took = max(self.alone, inflight / self.capacity)
            self.now += took / inflight
            self.limit.ended(self.now, took, 1.0, inflight, is_full)


def test_it_grows_while_calls_take_no_longer() -> None:
    limit = ConcurrencyLimit(16, 200)
    Service(limit, alone=0.5, capacity=1e6).run(60, offered=1e5)
    assert limit.limit == 200


def test_it_does_not_grow_while_less_than_half_of_it_is_used() -> None:
    limit = ConcurrencyLimit(40, 200)
    Service(limit, alone=0.5, capacity=1e6).run(60, offered=20)
    assert limit.limit == 40


def test_it_shrinks_when_calls_take_longer_than_they_did() -> None:
    limit = ConcurrencyLimit(64, 200)
    service = Service(limit, alone=0.02, capacity=40)
    service.run(20, offered=20)
    service.run(60, offered=400)
    assert MIN_LIMIT <= limit.limit <= 6, "40 calls a second of 20 ms keep less than one busy"


@pytest.mark.parametrize(
    ("alone", "capacity", "seconds", "most"), [(0.003, 1400, 60, 130), (0.03, 37, 3600, 8), (2.0, 4, 3600, 20)]
)
def test_an_overload_that_was_there_from_the_first_call(
    alone: float, capacity: float, seconds: float, most: int
) -> None:
    """The long-term average must not follow the overload: Netflix's own limit would be at its maximum."""
    limit = ConcurrencyLimit(4, 1000)
    service = Service(limit, alone, capacity)
    service.run(seconds / 10, offered=10 * capacity)
    after_minutes = limit.limit
    service.run(seconds, offered=10 * capacity)
    assert limit.limit <= most and limit.limit <= 1.5 * after_minutes + 1


def test_calls_that_are_batched_keep_their_throughput() -> None:
    """They take longer, the more there are of them: a limit that followed the first calls would be 2."""
    limit = ConcurrencyLimit(32, 1000)
    service = Service(limit, alone=0.001, capacity=1400)
    service.run(10, offered=100)
    service.run(20, offered=14_000)
    assert limit.limit >= 60, "50 ms of work"


def test_the_limit_comes_back_after_an_overload() -> None:
    limit = ConcurrencyLimit(32, 100)
    slow = Service(limit, alone=0.1, capacity=20)
    slow.run(20, offered=5)
    slow.run(60, offered=200)
    assert limit.limit < 16
    quick = Service(limit, alone=0.01, capacity=10_000)
    quick.now = slow.now
    quick.run(60, offered=9_000)
    assert limit.limit > 90


def test_a_window_grows_the_limit_by_a_fifth_of_the_queue_that_is_allowed() -> None:
    """Gradient2's step: smoothing 0.2 of a queue size of 4."""
    limit = ConcurrencyLimit(100, 1000)
    for call in range(1, 11):
        limit.ended(0.1 + call / 1000, 0.1, 1.0, 100, is_full=False)
    assert limit.limit == 100 + int(0.2 * MAX_QUEUE_SIZE)
    assert limit.seconds_per_call == pytest.approx(0.1)
    assert limit.seconds_per_cost == pytest.approx(0.001)


def test_what_a_call_costs_is_known_by_the_unit() -> None:
    limit = ConcurrencyLimit(4, 100)
    for call in range(1, 11):
        limit.ended(call * 2.0, 2.0, 20.0, 1, is_full=True)
    assert limit.seconds_per_cost == pytest.approx(0.1)
