"""The batcher: whatever arrives, leaves or fails, every request gets exactly one answer, its own."""

import random
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import gevent
import pytest
from gevent import socket

from wsgiapp.errors import DeadlineExceeded, InternalError, InvalidArgument, RequestError, Unavailable
from wsgiapp.inference.batcher import (
    LINGER_SHARE,
    MAX_PADDING_STEPS,
    WAITED,
    Batched,
    Batcher,
    BatchLimits,
)

FAR = 30.0


@dataclass
class Doubling:
    """A call that doubles its items, after `seconds`; `bad` items make it fail. It keeps what it was called with."""

    seconds: float = 0.0
    bad: frozenset[int] = frozenset()
    error: Callable[[str], Exception] = InvalidArgument
    calls: list[list[int]] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    max_inflight: int = 0
    inflight: int = 0

    def __call__(self, key: Hashable, items: list[int], deadline: float) -> list[int]:
        self.calls.append(items)
        self.begun.append(time.monotonic())
        self.deadlines.append(deadline)
        self.inflight += 1
        self.max_inflight = max(self.max_inflight, self.inflight)
        try:
            gevent.sleep(self.seconds)
            if wrong := self.bad.intersection(items):
                raise self.error(f"{sorted(wrong)} cannot be doubled")
            return [2 * item for item in items]
        finally:
            self.inflight -= 1
            self.ended.append(time.monotonic())


def submit(batcher: Batcher[int, int], item: int, **more: object) -> Batched[int]:
    options = {"key": "model", "rows": 1, "length": 1, "deadline": time.monotonic() + FAR, **more}
    key = options.pop("key")
    return batcher.submit(key, item, **options)  # type: ignore[arg-type]


def submit_all(batcher: Batcher[int, int], items: range, **more: object) -> list[Batched[int]]:
    waiting = [gevent.spawn(submit, batcher, item, **more) for item in items]
    gevent.joinall(waiting, timeout=FAR, raise_error=True)
    return [each.value for each in waiting]


def test_what_comes_together_leaves_together() -> None:
    double = Doubling()
    answers = submit_all(Batcher(double, BatchLimits()), range(8))
    assert [answer.result for answer in answers] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert double.calls == [list(range(8))]
    assert {answer.rows for answer in answers} == {8}


def test_one_alone_does_not_wait_for_others() -> None:
    double = Doubling()
    answer = submit(Batcher(double, BatchLimits()), 1)
    assert answer.result == 2 and answer.rows == 1
    assert answer.queue_seconds < 1


def test_those_that_come_while_all_slots_are_taken_share_the_next_call() -> None:
    double = Doubling(seconds=0.05)
    batcher = Batcher(double, BatchLimits(max_inflight=1))
    first = gevent.spawn(submit, batcher, 0)
    gevent.sleep(0.02)
    later = []
    for item in range(1, 6):
        later.append(gevent.spawn(submit, batcher, item))
        gevent.sleep(0)
    gevent.joinall([first, *later], raise_error=True)
    assert double.calls == [[0], [1, 2, 3, 4, 5]]
    assert all(each.value.queue_seconds > 0 for each in later)
    assert double.max_inflight == 1


def test_those_that_were_just_answered_go_along_if_they_are_soon_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgiapp.inference.batcher.MAX_LINGER_SECONDS", 1.0)  # of a machine that is busy
    double = Doubling(seconds=0.4)
    batcher = Batcher(double, BatchLimits())

    def client(item: int) -> None:
        for _ in range(2):
            submit(batcher, item)
            gevent.sleep(0.001)

    first = [gevent.spawn(client, item) for item in range(4)]
    gevent.sleep(0.1)
    later = [gevent.spawn(client, item) for item in range(4, 8)]
    gevent.joinall([*first, *later], raise_error=True)
    assert [sorted(items) for items in double.calls] == [[0, 1, 2, 3], list(range(8)), [4, 5, 6, 7]]


@pytest.mark.parametrize(("max_seconds", "linger"), [(1.0, LINGER_SHARE * 0.4), (0.0, 0.0)])
def test_those_that_do_not_come_back_are_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, max_seconds: float, linger: float
) -> None:
    monkeypatch.setattr("wsgiapp.inference.batcher.MAX_LINGER_SECONDS", max_seconds)
    double = Doubling(seconds=0.4)
    batcher = Batcher(double, BatchLimits())
    gone = [gevent.spawn(submit, batcher, item) for item in range(4)]
    gevent.sleep(0.1)
    submit(batcher, 4)
    gevent.joinall(gone, raise_error=True)
    assert 0.9 * linger <= double.begun[1] - double.ended[0] < linger + 0.5
    assert submit(batcher, 5).queue_seconds < 0.9 * LINGER_SHARE * 0.4, "the call before had one request, which is back"
    assert double.calls == [[0, 1, 2, 3], [4], [5]]


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_never_more_calls_than_slots_nor_rows_than_the_limit(slots: int) -> None:
    double = Doubling(seconds=0.002)
    answers = submit_all(Batcher(double, BatchLimits(max_batch_size=7, max_inflight=slots)), range(100))
    assert [answer.result for answer in answers] == [2 * item for item in range(100)]
    assert double.max_inflight == slots
    assert max(map(len, double.calls)) == 7
    assert len(double.calls) == 15


def test_a_request_of_more_rows_than_the_limit_goes_alone() -> None:
    double = Doubling()
    batcher = Batcher(double, BatchLimits(max_batch_size=4))
    many = gevent.spawn(submit, batcher, 9, rows=50)
    others = submit_all(batcher, range(3))
    assert many.get().rows == 50
    assert [9] in double.calls and {other.rows for other in others} == {3}


def test_only_equal_keys_share_a_call() -> None:
    double = Doubling()
    batcher = Batcher(double, BatchLimits())
    waiting = [gevent.spawn(submit, batcher, item, key="even" if item % 2 == 0 else "odd") for item in range(10)]
    gevent.joinall(waiting, raise_error=True)
    assert sorted(double.calls) == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


def test_of_more_than_fit_the_most_similar_lengths_share_a_call_and_the_oldest_is_among_them() -> None:
    double = Doubling()
    batcher = Batcher(double, BatchLimits(max_batch_size=3, max_inflight=1))
    lengths = [10, 200, 11, 190, 12, 210]
    waiting = [gevent.spawn(submit, batcher, item, length=length) for item, length in enumerate(lengths)]
    gevent.joinall(waiting, raise_error=True)
    assert double.calls == [[0, 2, 4], [1, 3, 5]]


def test_a_batch_holds_no_more_padding_than_a_call_is_worth() -> None:
    double = Doubling()
    batcher = Batcher(double, BatchLimits())
    lengths = [10] * 16 + [10 + MAX_PADDING_STEPS // 16 + 1]
    waiting = [gevent.spawn(submit, batcher, item, length=length) for item, length in enumerate(lengths)]
    gevent.joinall(waiting, raise_error=True)
    assert double.calls == [list(range(16)), [16]]


def test_an_error_reaches_every_waiter() -> None:
    def unreachable(key: Hashable, items: list[int], deadline: float) -> list[int]:
        raise Unavailable("nobody is there")

    batcher: Batcher[int, int] = Batcher(unreachable, BatchLimits())
    waiting = [gevent.spawn(_outcome, batcher, item) for item in range(5)]
    gevent.joinall(waiting)
    assert [repr(each.value) for each in waiting] == [repr(Unavailable("nobody is there"))] * 5


def test_one_bad_row_fails_alone() -> None:
    double = Doubling(bad=frozenset({5}))
    batcher = Batcher(double, BatchLimits())
    waiting = [gevent.spawn(_outcome, batcher, item) for item in range(8)]
    gevent.joinall(waiting)
    outcomes = [each.value for each in waiting]
    assert isinstance(outcomes.pop(5), InvalidArgument)
    assert [outcome.result for outcome in outcomes] == [0, 2, 4, 6, 8, 12, 14]
    assert len(double.calls) <= 1 + 2 * 3, "it is found by taking the batch apart"


def failing_probe(key: Hashable, deadline: float) -> None:
    raise InternalError("the model fails")


def test_a_model_that_fails_every_call_is_called_once_a_batch() -> None:
    double = Doubling(bad=frozenset(range(64)))
    batcher = Batcher(double, BatchLimits(max_batch_size=64), failing_probe)
    waiting = [gevent.spawn(_outcome, batcher, item) for item in range(64)]
    gevent.joinall(waiting)
    assert {str(each.value) for each in waiting} == {"the model fails"}
    assert len(double.calls) == 1


def test_when_every_row_is_bad_each_gets_its_own_error() -> None:
    double = Doubling(bad=frozenset(range(64)))
    batcher = Batcher(double, BatchLimits(max_batch_size=64), lambda key, deadline: None)
    waiting = [gevent.spawn(_outcome, batcher, item) for item in range(64)]
    gevent.joinall(waiting)
    assert [str(each.value) for each in waiting] == [f"[{item}] cannot be doubled" for item in range(64)]
    assert len(double.calls) == 1 + 4 + 16 + 64


@pytest.mark.parametrize(
    "bad",
    [{0}, {63}, set(range(0, 64, 8)), set(range(63)), set(range(1, 64, 2))],
    ids=["first", "last", "every eighth", "all but one", "half"],
)
def test_bad_rows_never_hurt_the_others_of_a_large_batch(bad: set[int]) -> None:
    double = Doubling(bad=frozenset(bad))
    batcher = Batcher(double, BatchLimits(max_batch_size=64))
    waiting = [gevent.spawn(_outcome, batcher, item) for item in range(64)]
    gevent.joinall(waiting)
    for item, each in enumerate(waiting):
        if item in bad:
            assert isinstance(each.value, InvalidArgument)
        else:
            assert each.value.result == 2 * item


def test_a_call_that_answers_too_little_is_an_error_and_not_a_hang() -> None:
    batcher: Batcher[int, int] = Batcher(lambda key, items, deadline: [1], BatchLimits())
    waiting = [gevent.spawn(_outcome, batcher, item) for item in range(3)]
    gevent.joinall(waiting, timeout=5)
    assert [type(each.value) for each in waiting] == [ValueError] * 3


def test_a_request_past_its_deadline_is_not_sent() -> None:
    double = Doubling(seconds=0.1)
    batcher = Batcher(double, BatchLimits(max_inflight=1))
    first = gevent.spawn(submit, batcher, 0)
    gevent.sleep(0.01)
    late = gevent.spawn(_outcome, batcher, 1, deadline=time.monotonic() + 0.02)
    assert repr(late.get(timeout=5)) == repr(DeadlineExceeded(WAITED))
    assert not first.ready(), "it is answered at its deadline, not when the slot is free"
    assert first.get().result == 0
    assert double.calls == [[0]]


def test_a_batch_goes_by_the_latest_deadline_of_its_requests() -> None:
    """One that times out during the call must not take the others with it."""
    double = Doubling(seconds=0.1)
    batcher = Batcher(double, BatchLimits())
    far = time.monotonic() + FAR
    soon = gevent.spawn(_outcome, batcher, 1, deadline=time.monotonic() + 0.03)
    waiting = gevent.spawn(_outcome, batcher, 2, deadline=far)
    assert isinstance(soon.get(timeout=5), DeadlineExceeded)
    assert not waiting.ready()
    assert waiting.get().result == 4
    assert double.deadlines == [far]


def test_a_waiter_that_leaves_harms_no_one() -> None:
    double = Doubling(seconds=0.05)
    batcher = Batcher(double, BatchLimits(max_inflight=1))
    under_way = [gevent.spawn(_outcome, batcher, item) for item in (1, 2)]
    gevent.sleep(0.02)
    queued = [gevent.spawn(_outcome, batcher, item) for item in (3, 4)]
    gevent.sleep(0)
    under_way[0].kill()
    queued[0].kill()
    assert under_way[1].get(timeout=5).result == 4
    assert queued[1].get(timeout=5).result == 8
    assert double.calls == [[1, 2], [4]]


def test_a_caller_s_own_timeout() -> None:
    batcher = Batcher(Doubling(seconds=0.2), BatchLimits())
    with gevent.Timeout(0.01, False):
        submit(batcher, 1)
        raise AssertionError("it answered before the timeout")
    assert submit(batcher, 2).result == 4


@pytest.mark.parametrize("requests", [1, 5])
@pytest.mark.parametrize("kind", ["callbacks", "sockets"])
def test_a_loop_that_is_never_idle_still_sends(kind: str, requests: int) -> None:
    """Nobody else submits anything, and there is always something else to do: neither may let a request wait."""
    busy = [gevent.spawn(_keep_busy)] if kind == "callbacks" else _keep_sockets_busy()
    try:
        answers = submit_all(Batcher(Doubling(), BatchLimits(max_batch_size=1000)), range(requests))
        assert not any(each.ready() for each in busy)
    finally:
        gevent.killall(busy)
    assert [answer.result for answer in answers] == [2 * item for item in range(requests)]
    assert max(answer.queue_seconds for answer in answers) < FAR / 10


@pytest.mark.parametrize("seed", range(60))
def test_every_request_gets_exactly_one_answer_its_own(seed: int) -> None:
    """Random arrivals, sizes, lengths, keys, errors, cancellations and deadlines."""
    rng = random.Random(seed)
    scenario = Scenario(rng)
    requests = [scenario.request(item) for item in range(150)]
    greenlets = []
    for request in requests:
        greenlets.append(gevent.spawn(request.run))
        if rng.random() < 0.3:
            gevent.sleep(rng.choice([0, 0, 0.001, 0.003]))
    for request, greenlet in zip(requests, greenlets, strict=True):
        if request.is_killed:
            gevent.spawn_later(rng.random() * 0.02, greenlet.kill)
    gevent.joinall(greenlets, timeout=FAR)
    assert all(greenlet.ready() for greenlet in greenlets), "a request hangs"
    for request in requests:
        request.check(scenario)
    assert scenario.max_inflight <= scenario.limits.max_inflight
    sent = Counter(item for call in scenario.calls for item in call)
    expired = {request.item for request in requests if request.is_late}
    assert not expired.intersection(sent), "sent after its deadline"
    with gevent.Timeout(FAR):  # nothing is left behind, when the last call has ended that nobody waits for
        while scenario.batcher._inflight:
            gevent.sleep(0.001)
    assert not scenario.batcher._queue and not scenario.batcher._unanswered


class Scenario:
    """A batcher over a call that answers, fails for bad rows, fails for all, or takes its time, at random."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.limits = BatchLimits(max_batch_size=rng.choice([1, 2, 5, 16, 64]), max_inflight=rng.choice([1, 2, 3]))
        self.batcher: Batcher[int, str] = Batcher(self._call, self.limits)
        self.bad: set[int] = set()
        self.calls: list[list[int]] = []
        self.down: set[int] = set()  # what was in a call that failed for all
        self.max_inflight = self._inflight = 0

    def request(self, item: int) -> "Request":
        request = Request(
            batcher=self.batcher,
            item=item,
            key=self.rng.choice("aab"),
            rows=self.rng.choice([1, 1, 1, 2, 30]),
            length=self.rng.choice([1, 5, 10, 60, 300]),
            seconds=self.rng.choice([FAR, FAR, FAR, 0.004, 0.0, -1.0]),
            is_killed=self.rng.random() < 0.1,
        )
        if self.rng.random() < 0.05:
            self.bad.add(item)
        return request

    def _call(self, key: Hashable, items: list[int], deadline: float) -> list[str]:
        self._inflight += 1
        self.max_inflight = max(self.max_inflight, self._inflight)
        try:
            self.calls.append(items)
            gevent.sleep(self.rng.choice([0, 0.001, 0.004]))
            if self.rng.random() < 0.05:
                self.down.update(items)
                raise Unavailable("down")
            if wrong := self.bad.intersection(items):
                raise InvalidArgument(f"bad: {sorted(wrong)}")
            return [f"{key}{item}" for item in items]
        finally:
            self._inflight -= 1


@dataclass
class Request:
    """One request of a scenario, and every outcome it saw."""

    batcher: Batcher[int, str]
    item: int
    key: str
    rows: int
    length: int
    seconds: float
    is_killed: bool
    outcomes: list[object] = field(default_factory=list)

    @property
    def is_late(self) -> bool:
        """Whether its deadline had passed before it came."""
        return self.seconds < 0

    def run(self) -> None:
        deadline = time.monotonic() + self.seconds
        try:
            outcome = self.batcher.submit(self.key, self.item, rows=self.rows, length=self.length, deadline=deadline)
            self.outcomes.append(outcome.result)
        except RequestError as exc:
            self.outcomes.append(exc)

    def check(self, scenario: Scenario) -> None:
        """It saw one outcome, which may be what it is."""
        if not self.outcomes:
            assert self.is_killed
            return
        (outcome,) = self.outcomes
        match outcome:
            case InvalidArgument():
                assert self.item in scenario.bad and str(outcome) == f"bad: [{self.item}]"
            case Unavailable():
                assert self.item in scenario.down
            case DeadlineExceeded():
                assert self.seconds < FAR
            case _:
                assert outcome == f"{self.key}{self.item}" and self.item not in scenario.bad


def _keep_busy() -> None:
    while True:
        gevent.sleep(0)


def _keep_sockets_busy() -> list[gevent.Greenlet]:
    """Two pairs of which one end or the other can always be read."""

    def pass_on(end: socket.socket) -> None:
        while True:
            end.sendall(end.recv(1))

    ends = [end for _ in range(2) for end in socket.socketpair()]
    for end in ends[::2]:
        end.sendall(b"x")
    return [gevent.spawn(pass_on, end) for end in ends]


def _outcome(batcher: Batcher[int, int], item: int, **more: object) -> object:
    try:
        return submit(batcher, item, **more)
    except Exception as exc:
        return exc
