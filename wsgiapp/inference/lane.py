"""`Lane`: the requests of one model that cost about the same, with a concurrency limit and a queue before it."""

import math
import time
from collections import deque
from collections.abc import Callable

from wsgiapp.errors import DeadlineExceeded, Overloaded
from wsgiapp.inference.concurrency_limit import ConcurrencyLimit
from wsgiapp.inference.waiting import Waiting
from wsgiapp.observability.metrics import REJECTED_REQUESTS

# Of a lane's limit, requests that may wait (`X-Priority: batch`) use so much, for the others to find the rest free;
# and so much of the longest wait, for them to be rejected first.
BATCH_SHARE = 0.75
BATCH_WAIT_SHARE = 0.5
# Many times what a usual call takes, under overload, too; how many times as many are held then, and for how long.
PAUSE_SECONDS = 0.5
CATCH_UP = 8
CATCH_UP_SECONDS = 2.0
WAITED = "the deadline passed while the request waited for its turn"


class Room:
    """What the lanes of a worker share: `held` requests are in flight or wait, `max_held` is the limit of that.

    `max_wait_seconds`: what a request may wait for its turn at most. `when_full` is called when there is no room.

    Where none of them has ended for a while, there is no overload: the model server pauses, or the worker has just
    started, and finds what has waited while all were away. For a time it holds several times as many then.
    """

    def __init__(
        self,
        max_held: int,
        max_wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        when_full: Callable[[], None] = lambda: None,
    ) -> None:
        self.held = 0
        self.max_held = max_held
        self.max_wait_seconds = max_wait_seconds
        self.clock = clock
        self.moved_at = clock()  # when a request ended last, or the first one came
        self._when_full = when_full
        self._more_until = self.moved_at

    def catch_up(self) -> None:
        """From now on hold more for a time."""
        self._more_until = self.clock() + CATCH_UP_SECONDS

    def is_full(self) -> bool:
        """Whether one more would be too many."""
        if self.held < self.max_held:
            return False
        now = self.clock()
        if now > self.moved_at + PAUSE_SECONDS:
            self.catch_up()
        if now < self._more_until and self.held < self.max_held * CATCH_UP:
            return False
        self._when_full()
        return True


class Lane:
    """`inflight` requests have begun. Those in the queue begin in the order of arrival, those that may wait last.

    `share`: so many requests it may always hold, whatever the other lanes do.
    """

    def __init__(self, room: Room, model: str, limit: ConcurrencyLimit, share: int) -> None:
        self.model = model
        self.limit = limit
        self.share = share
        self.inflight = 0
        self._room = room
        self._busy_since = 0.0
        self._queue: deque[Waiting] = deque()
        self._batch_queue: deque[Waiting] = deque()

    @property
    def waiting(self) -> int:
        return len(self._queue) + len(self._batch_queue)

    def predicted_wait(self, *, is_batch: bool = False) -> float:
        """Seconds that one more request would wait for its turn."""
        ahead = sum(each.cost for each in self._queue)
        if is_batch:
            ahead += sum(each.cost for each in self._batch_queue)
        known = self.limit.seconds_per_cost
        if known or not ahead:
            return ahead * known
        # No call has ended yet: one takes at least as long as the first of them has taken, which says something once
        # that is more than what a busy event loop makes of it.
        took = self._room.clock() - self._busy_since
        return ahead * took / max(1, self.inflight) if took > self._room.max_wait_seconds else 0.0

    def require_room(self, seconds: float, *, is_batch: bool = False) -> None:
        """Raise `Overloaded` where a request with a deadline in `seconds` would be rejected."""
        if self.inflight >= self.limit.limit or self._room.held >= self._room.max_held:
            self._make_room(seconds, is_batch)

    def admit(self, cost: float, deadline: float, *, is_batch: bool = False) -> "Admitted":
        """A context in which a request of this cost is in flight; entering it may wait, until `deadline` at most.

        Entering it raises `Overloaded` at once, or `DeadlineExceeded`.
        """
        return Admitted(self, cost, deadline, is_batch)

    def begin(self, cost: float, deadline: float, is_batch: bool) -> float:
        """Take a turn, or wait for one; when it was."""
        room = self._room
        now = room.clock()
        is_free = self.inflight < (self.limit.limit * BATCH_SHARE if is_batch else self.limit.limit)
        if not is_free or self._queue or room.held >= room.max_held:
            self._make_room(deadline - now, is_batch)
            is_free = is_free and not self._queue
        if not room.held:
            room.moved_at = now
        room.held += 1
        if is_free:
            if not self.inflight:
                self._busy_since = now
            self.inflight += 1
            return now
        self._wait(Waiting(cost, deadline, is_batch))
        return room.clock()

    def end(self, began: float, cost: float, error: type[BaseException] | None) -> None:
        """Give the turn to the next one, and learn from how long it took, where that says something."""
        room, inflight = self._room, self.inflight
        is_full = bool(self._queue or self._batch_queue)
        # Other errors come before there was much to do, or because the client has gone.
        if error is None or error is DeadlineExceeded:
            now = room.clock()
            self.limit.ended(now, now - began, cost, inflight, is_full)
            if error is None:
                if now > room.moved_at + PAUSE_SECONDS:
                    room.catch_up()
                room.moved_at = now
        room.held -= 1
        self.inflight = inflight - 1
        if is_full:
            self._begin_next()

    def _make_room(self, seconds: float, is_batch: bool) -> None:
        """Raise `Overloaded`, unless there is room for one more request, or that of one that may wait."""
        room = self._room
        wait = self.predicted_wait(is_batch=is_batch)
        if self.inflight + self.waiting >= self.share and room.is_full():
            if is_batch or not self._reject_batch():
                raise self._overloaded("full", f"{room.held} predictions are in flight; try again in a moment", wait)
            return
        allowed = min(room.max_wait_seconds, seconds - self.limit.seconds_per_call)
        if wait > allowed * (BATCH_WAIT_SHARE if is_batch else 1.0):
            raise self._overloaded("wait", f"too many requests wait: it would be {wait:.1f} s; try again later", wait)

    def _reject_batch(self) -> bool:
        """Reject the newest request that may wait, if there is one."""
        if not self._batch_queue:
            return False
        waiting = self._batch_queue.pop()
        self._room.held -= 1
        wait = self.predicted_wait(is_batch=True)
        waiting.take_out(self._overloaded("priority", "requests that cannot wait went first; try again later", wait))
        return True

    def _overloaded(self, reason: str, detail: str, wait: float) -> Overloaded:
        REJECTED_REQUESTS.labels(self.model, reason).inc()
        return Overloaded(detail, retry_after=max(1, math.ceil(wait)))

    def _wait(self, waiting: Waiting) -> None:
        queue = self._batch_queue if waiting.is_batch else self._queue
        queue.append(waiting)
        try:
            waiting.wait(waiting.deadline - self._room.clock())
        except BaseException:  # its client has gone, for example
            if waiting.is_queued:
                queue.remove(waiting)
                self._room.held -= 1
            elif waiting.has_turn:
                self.end(0.0, waiting.cost, BaseException)
            raise
        if waiting.is_queued:
            queue.remove(waiting)
            self._room.held -= 1
            REJECTED_REQUESTS.labels(self.model, "deadline").inc()
            raise DeadlineExceeded(WAITED)
        if waiting.error is not None:
            raise waiting.error

    def _begin_next(self) -> None:
        limit = self.limit.limit
        while self._queue and self.inflight < limit:
            self.inflight += 1
            self._queue.popleft().take_out()
        while self._batch_queue and not self._queue and self.inflight < limit * BATCH_SHARE:
            self.inflight += 1
            self._batch_queue.popleft().take_out()


class Admitted:
    """A context manager by hand: `contextlib`'s took 3% of a prediction's CPU time."""

    __slots__ = ("_began", "_cost", "_deadline", "_is_batch", "_lane")

    def __init__(self, lane: Lane, cost: float, deadline: float, is_batch: bool) -> None:
        self._lane = lane
        self._cost = cost
        self._deadline = deadline
        self._is_batch = is_batch

    def __enter__(self) -> float:
        """When the request's turn came."""
        self._began = self._lane.begin(self._cost, self._deadline, self._is_batch)
        return self._began

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        self._lane.end(self._began, self._cost, kind)
