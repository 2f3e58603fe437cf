"""Which requests begin, wait or are rejected; with a clock that the tests move."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest

from wsgiapp.errors import DeadlineExceeded, Overloaded
from wsgiapp.inference.admission import LARGE_COST, Admission, Concurrency, Share
from wsgiapp.inference.call_options import CallOptions
from wsgiapp.inference.lane import CATCH_UP, CATCH_UP_SECONDS, PAUSE_SECONDS, Lane, Room


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A worker with the models `a` and `b`; `hold` begins a request and keeps it in flight."""

    clock: Clock = field(default_factory=Clock)
    held: list[gevent.Greenlet] = field(default_factory=list)
    full: int = 0

    def make(self, max_held: int = 12, initial: int = 100, **weights: float) -> Admission:
        weights = weights or {"a": 1.0, "b": 1.0}
        shares = [Share(name, weight, Concurrency(initial)) for name, weight in weights.items()]
        self.room = Room(max_held, max_wait_seconds=1.0, clock=self.clock, when_full=self.count_full)
        return Admission(self.room, shares)

    def count_full(self) -> None:
        self.full += 1

    def hold(self, lane: Lane, cost: float = 1.0, *, is_batch: bool = False, seconds: float = 50.0) -> "Held":
        held = Held(lane, cost, self.clock() + seconds, is_batch)
        self.held.append(held.greenlet)
        gevent.sleep(0)
        return held


class Held:
    def __init__(self, lane: Lane, cost: float, deadline: float, is_batch: bool) -> None:
        self.has_begun = False
        self.error: Exception | None = None
        self._end = gevent.event.Event()
        self.greenlet = gevent.spawn(self._run, lane, cost, deadline, is_batch)

    def _run(self, lane: Lane, cost: float, deadline: float, is_batch: bool) -> None:
        try:
            with lane.admit(cost, deadline, is_batch=is_batch):
                self.has_begun = True
                self._end.wait()
        except (Overloaded, DeadlineExceeded) as exc:
            self.error = exc

    def end(self) -> None:
        self._end.set()
        self.greenlet.join(5)
        gevent.sleep(0.01)  # whose turn it is comes to know by the loop


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    gevent.killall(made.held)


def learned(site: Site, lane: Lane, seconds: float) -> None:
    """The lane knows how long a request of the cost 1 takes."""
    for _ in range(10):
        with lane.admit(1.0, site.clock() + 50):
            site.clock.now += seconds


def test_a_flooded_model_is_held_to_its_share_once_the_worker_is_full(site: Site) -> None:
    admission = site.make(max_held=12)
    a, b = admission.lane("a"), admission.lane("b")
    flood = [site.hold(a) for _ in range(20)]
    assert sum(each.has_begun for each in flood) == 12, "it borrows what the others do not use"
    assert isinstance(flood[-1].error, Overloaded) and "12 predictions are in flight" in str(flood[-1].error)
    mine = [site.hold(b) for _ in range(5)]
    assert [each.has_begun for each in mine] == [True] * 4 + [False], "a third of 12, whatever the others hold"
    for each in flood[:9]:
        each.end()
    assert site.hold(a).has_begun and site.hold(b).has_begun, "12 - 9 + 4 are held"


def test_weights(site: Site) -> None:
    admission = site.make(max_held=16, a=6.0, b=1.0)
    assert (admission.lane("a").share, admission.lane("b").share, admission.lane("unknown").share) == (12, 2, 2)
    assert admission.lane("unknown") is admission.lane("other"), "those without a table share one"


def test_a_slow_model_keeps_only_its_own_requests_waiting(site: Site) -> None:
    admission = site.make(max_held=100, initial=4)
    slow, other = admission.lane("a"), admission.lane("b")
    flood = [site.hold(slow) for _ in range(10)]
    assert [each.has_begun for each in flood] == [True] * 4 + [False] * 6
    assert site.hold(other).has_begun
    flood[0].end()
    assert [each.has_begun for each in flood] == [True] * 5 + [False] * 5, "in the order of arrival"
    assert slow.waiting == 5 and slow.inflight == 4


def test_long_texts_keep_no_short_ones_waiting(site: Site) -> None:
    admission = site.make(max_held=100, initial=4)
    long = admission.lane("a", LARGE_COST)
    flood = [site.hold(long, LARGE_COST) for _ in range(10)]
    assert sum(each.has_begun for each in flood) == 2
    assert admission.lane("a") is not long and site.hold(admission.lane("a")).has_begun


def test_a_wait_that_would_be_too_long_is_rejected_with_the_time_to_come_back(site: Site) -> None:
    lane = site.make(max_held=1000, initial=2).lane("a")
    learned(site, lane, 0.3)
    waiting = [site.hold(lane) for _ in range(20)]
    begun = sum(each.has_begun for each in waiting)
    accepted = sum(each.error is None for each in waiting)
    assert begun == 2 and accepted == 2 + 4, "a fifth would have 4 times 0.3 s before it"
    error = waiting[-1].error
    assert isinstance(error, Overloaded) and error.retry_after == 2 and "1.2 s" in str(error)
    with pytest.raises(Overloaded):
        lane.require_room(50.0)


def test_a_wait_beyond_the_deadline_is_rejected_at_once(site: Site) -> None:
    lane = site.make(max_held=1000, initial=2).lane("a")
    learned(site, lane, 0.1)
    for _ in range(6):
        site.hold(lane)
    assert isinstance(site.hold(lane, seconds=0.45).error, Overloaded), "4 times 0.1 s before it, and 0.1 s of its own"
    assert site.hold(lane, seconds=0.6).error is None


def test_what_costs_much_counts_as_much(site: Site) -> None:
    lane = site.make(max_held=1000, initial=2).lane("a")
    learned(site, lane, 0.1)
    site.hold(lane), site.hold(lane)
    assert site.hold(lane, cost=12.0).error is None
    assert isinstance(site.hold(lane).error, Overloaded)


def test_a_lane_that_knows_nothing_yet_takes_what_it_sees(site: Site) -> None:
    lane = site.make(max_held=1000, initial=4).lane("a")
    for _ in range(12):
        assert site.hold(lane).error is None
    site.clock.now += 2.0  # and nothing has ended: those 8 would wait 4 s
    assert isinstance(site.hold(lane).error, Overloaded)


def test_requests_that_may_wait_are_rejected_first(site: Site) -> None:
    admission = site.make(max_held=8, initial=4)
    lane = admission.lane("a")
    batch = [site.hold(lane, is_batch=True) for _ in range(6)]
    assert [each.has_begun for each in batch] == [True] * 3 + [False] * 3, "a quarter is left to the others"
    first = site.hold(lane)
    assert first.has_begun, "it goes before those that wait"
    assert site.hold(lane).error is None  # the eighth
    assert isinstance(site.hold(lane, is_batch=True).error, Overloaded)
    assert site.hold(lane).error is None
    gevent.sleep(0.01)
    rejected = [each for each in batch if each.error is not None]
    assert rejected == [batch[-1]] and isinstance(rejected[0].error, Overloaded), "the newest makes room"
    assert site.room.held == 8


def test_requests_that_may_wait_begin_last(site: Site) -> None:
    lane = site.make(max_held=100, initial=2).lane("a")
    begun = [site.hold(lane), site.hold(lane)]
    late, soon = site.hold(lane, is_batch=True), site.hold(lane)
    begun[0].end()
    assert soon.has_begun and not late.has_begun
    begun[1].end()
    assert late.has_begun


def test_whose_client_has_gone_leaves_the_queue(site: Site) -> None:
    lane = site.make(max_held=100, initial=2).lane("a")
    begun = [site.hold(lane), site.hold(lane)]
    gone, next_one = site.hold(lane), site.hold(lane)
    gone.greenlet.kill()
    assert (lane.waiting, site.room.held) == (1, 3)
    begun[0].end()
    assert next_one.has_begun
    assert (lane.waiting, lane.inflight, site.room.held) == (0, 2, 2)


def test_whose_client_goes_as_its_turn_comes_passes_it_on(site: Site) -> None:
    lane = site.make(max_held=100, initial=2).lane("a")
    begun = [site.hold(lane), site.hold(lane)]
    gone, next_one = site.hold(lane), site.hold(lane)
    lane.end(0.0, 1.0, KeyError)  # as one in flight does; the loop has not turned since
    gone.greenlet.kill()
    gevent.sleep(0.01)
    assert next_one.has_begun and lane.inflight == 2 and begun


def test_a_deadline_that_passes_in_the_queue(site: Site) -> None:
    lane = site.make(max_held=100, initial=2).lane("a")
    site.hold(lane), site.hold(lane)
    late = site.hold(lane, seconds=0.02)
    late.greenlet.join(5)
    assert isinstance(late.error, DeadlineExceeded) and "waited for its turn" in str(late.error)
    assert (lane.waiting, site.room.held) == (0, 2)


@pytest.mark.parametrize("error", [KeyError, DeadlineExceeded, gevent.GreenletExit])
def test_a_call_that_fails_is_no_longer_in_flight(site: Site, error: Any) -> None:
    lane = site.make(max_held=1).lane("a")
    for _ in range(3):
        with pytest.raises(error), lane.admit(1.0, 1000.0):
            raise error
    assert (lane.inflight, site.room.held) == (0, 0)
    lane.require_room(10.0)


@pytest.mark.parametrize(
    ("timeout", "spent", "left"), [(None, 0.0, 10.0), (2.5, 0.0, 2.5), (99.0, 0.0, 10.0), (2.5, 1.0, 1.5)]
)
def test_what_is_left_of_a_deadline(timeout: float | None, spent: float, left: float) -> None:
    assert CallOptions(timeout, spent).seconds(10.0) == pytest.approx(left)


def test_a_deadline_that_has_passed_before() -> None:
    with pytest.raises(DeadlineExceeded, match="before the request reached"):
        CallOptions(1.0, 1.5).seconds(10.0)


def test_where_nothing_ends_more_is_held_and_nothing_is_overloaded(site: Site) -> None:
    """The model server pauses, or the worker has just started and finds what waited while all were away."""
    made = site.make(max_held=2)
    first = [site.hold(made.lane("a")) for _ in range(2)]
    assert isinstance(site.hold(made.lane("a")).error, Overloaded) and site.full == 1, "they may end at any moment"
    site.clock.now += 1.5 * PAUSE_SECONDS
    held = [*first, *(site.hold(made.lane("a")) for _ in range(2 * CATCH_UP - 2))]
    assert not any(each.error for each in held) and site.full == 1
    assert isinstance(site.hold(made.lane("a")).error, Overloaded) and site.full == 2
    for each in held[1:]:
        each.end()
        each.greenlet.join()
    more = [site.hold(made.lane("a")) for _ in range(3)]
    assert not any(each.error for each in more), "it goes on for a while, until what waited is answered"
    for each in (held[0], more[0]):  # the others begin in their places
        each.end()
        each.greenlet.join()
    for _ in range(10):
        site.clock.now += CATCH_UP_SECONDS / 8
        short = site.hold(made.lane("b"))
        short.end()
        short.greenlet.join()
    assert not site.hold(made.lane("b")).error
    assert isinstance(site.hold(made.lane("a")).error, Overloaded), "as many as ever"
    for each in more[1:]:
        each.end()
        each.greenlet.join()
    site.room.catch_up()
    assert not any(site.hold(made.lane("a")).error for _ in range(4))
