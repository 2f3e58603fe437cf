"""`Batcher`: greenlets that wait at the same moment share one call.

When a slot is free, the queue is flushed as soon as the event loop has nothing else to do: what clients have already
sent is read first, and goes along. Requests that come while all slots are taken are flushed together when one is free
again, and with them those of the clients that were just answered, if they are soon back. So an idle service adds no
wait, and a busy one fills its batches (measured, a BiLSTM on CPU: 1.02 ms a row alone, 0.039 ms in a batch of 64).
"""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import gevent
from gevent.hub import Waiter, get_hub

from wsgiapp.errors import UNANSWERED, DeadlineExceeded, InternalError, InvalidArgument, ResourceExhausted

Item = TypeVar("Item")
Result = TypeVar("Result")

# Errors that one bad row, or the size of the batch, may have caused: the rest is tried without it.
ROW_LEVEL_ERRORS = (InvalidArgument, InternalError, ResourceExhausted)

# A batch that failed is called again in so many parts, and those that fail likewise. Four find one bad row of 64 with
# 12 calls, as halves do, and 64 bad ones with 84 instead of 126.
PARTS = 4

# Every row of a batch takes as many steps as the longest has. A batch holds at most so many steps of padding, which
# cost about what a call of its own does (measured, two BiLSTMs: 2 and 4 us a row and step, 2 ms a call).
MAX_PADDING_STEPS = 512

# A busy loop is never idle: a timer flushes when the queue has waited so long for that, whatever the loop does.
MAX_FLUSH_DELAY_SECONDS = 0.01

# After a call, those that it answered and those that waited for its end are expected for the next one. For them a
# free slot lingers at most this part of the time that the call took (measured, 32 connections: a tenth more rows a
# call), and no more than these seconds: clients that come back at all do so within milliseconds.
LINGER_SHARE = 0.5
MAX_LINGER_SECONDS = 0.01

WAITED = "the deadline passed while the request waited for its turn at the model server"


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """`max_batch_size`: rows of a call. `max_inflight`: calls at the same time, each of which takes a slot."""

    max_batch_size: int = 64
    max_inflight: int = 1


class Batched(NamedTuple, Generic[Result]):
    """A result, the rows of the call it came with, the seconds that its request was in the queue.

    `is_oldest`: no request of the call waited longer.
    """

    result: Result
    rows: int
    queue_seconds: float
    is_oldest: bool


class _Waiting(Generic[Item]):
    """One request, from `submit` to its answer."""

    __slots__ = (
        "batch_rows",
        "deadline",
        "enqueued_at",
        "flushed_at",
        "is_oldest",
        "item",
        "key",
        "length",
        "rows",
        "waiter",
    )

    def __init__(self, key: Hashable, item: Item, rows: int, length: int, deadline: float) -> None:
        self.key = key
        self.item = item
        self.rows = rows
        self.length = length
        self.deadline = deadline
        self.enqueued_at = self.flushed_at = time.monotonic()
        self.batch_rows = rows
        self.is_oldest = False
        self.waiter = Waiter()


Call = Callable[[Any, list[Item], float], Sequence[Result]]
Probe = Callable[[Any, float], None]


class Batcher(Generic[Item, Result]):
    """Joins items into calls `call(key, items, deadline) -> results`, one result an item, in their order.

    Only items of the same `key` share a call. It belongs to one event loop: that of the thread that made it.

    `probe(key, deadline)` is called when a batch failed, and raises where the fault is not that of the items: then all
    of them get that error, without further calls.
    """

    def __init__(self, call: Call[Item, Result], limits: BatchLimits, probe: Probe | None = None) -> None:
        self._call = call
        self._probe = probe
        self._limits = limits
        self._hub = get_hub()
        self._inflight = 0
        self._flushing = False
        self._when_idle = self._hub.loop.idle()
        self._flush_timer = self._hub.loop.timer(MAX_FLUSH_DELAY_SECONDS)
        self._expected = 0  # requests for the next call
        self._linger_timer = self._hub.loop.timer(0)
        self._queue: dict[_Waiting[Item], None] = {}  # in the order of arrival
        self._unanswered: set[_Waiting[Item]] = set()  # also those whose call is under way
        self._alarm: Any = None
        self._alarm_at = math.inf

    def submit(self, key: Hashable, item: Item, *, rows: int, length: int, deadline: float) -> Batched[Result]:
        """The result of `item`, which has `rows` rows, the longest of `length` steps.

        `deadline` is a point of `time.monotonic()`. Raises `DeadlineExceeded` when it passes, and what the call raised:
        an error that a single row may have caused only where this item, called alone, causes it.
        """
        request = _Waiting(key, item, rows, length, deadline)
        self._queue[request] = None
        self._unanswered.add(request)
        self._flush_soon()
        self._wake_at(deadline)
        try:
            outcome = request.waiter.get()
        finally:  # a caller that is killed, or has a timeout of its own, is forgotten like one that is answered
            self._queue.pop(request, None)
            self._unanswered.discard(request)
        if isinstance(outcome, _Failed):
            raise outcome.error
        return Batched(outcome, request.batch_rows, request.flushed_at - request.enqueued_at, request.is_oldest)

    def _flush_soon(self) -> None:
        """Flush when the loop has nothing else to do, soon in any case, and at once when a batch is full."""
        if self._flushing or not self._queue or self._inflight >= self._limits.max_inflight:
            return
        if len(self._queue) < self._expected:
            return
        if not self._when_idle.active:
            self._when_idle.start(self._flush)
            self._flush_timer.start(self._flush)
        if len(self._queue) >= self._limits.max_batch_size:
            self._flushing = True
            self._hub.loop.run_callback(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._expected = 0
        self._when_idle.stop()
        self._flush_timer.stop()
        while self._queue and self._inflight < self._limits.max_inflight:
            batch = self._next_batch()
            self._inflight += 1
            gevent.spawn(self._serve, batch)

    def _next_batch(self) -> list[_Waiting[Item]]:
        """The oldest request and those that share its call: of all that wait, the ones of the most similar length."""
        oldest = next(iter(self._queue))
        sharing = [request for request in self._queue if request.key == oldest.key]
        sharing.sort(key=lambda request: abs(request.length - oldest.length))  # stable: the oldest stays the first
        batch: list[_Waiting[Item]] = []
        rows = steps = max_length = 0
        for request in sharing:
            all_rows, all_steps = rows + request.rows, steps + request.rows * request.length
            new_max_length = max(max_length, request.length)
            padding = all_rows * new_max_length - all_steps
            fits = all_rows <= self._limits.max_batch_size and padding <= MAX_PADDING_STEPS
            if fits or not batch:
                batch.append(request)
                rows, steps, max_length = all_rows, all_steps, new_max_length
        now = time.monotonic()
        for request in batch:
            del self._queue[request]
            request.flushed_at = now
        return batch

    def _serve(self, batch: list[_Waiting[Item]]) -> None:
        started = time.monotonic()
        try:
            outcomes = self._outcomes(batch)
        finally:
            self._inflight -= 1
            took = time.monotonic() - started
            self._linger(len(batch) + len(self._queue), min(LINGER_SHARE * took, MAX_LINGER_SECONDS))
            self._flush_soon()
        for request, outcome in outcomes:
            self._hub.loop.run_callback(request.waiter.switch, outcome)

    def _linger(self, expected: int, seconds: float) -> None:
        """Have the next flush wait so long for so many requests, or until a batch is full."""
        self._linger_timer.close()
        self._expected = min(expected, self._limits.max_batch_size)
        if self._expected > 1:
            self._linger_timer = self._hub.loop.timer(seconds)
            self._linger_timer.start(self._end_linger)

    def _end_linger(self) -> None:
        self._expected = 0
        self._flush_soon()

    def _outcomes(self, batch: list[_Waiting[Item]], *, is_probed: bool = False) -> list[tuple[_Waiting[Item], Any]]:
        """What comes of each request that is still waited for: its result, or the error that ends it.

        One whose deadline has passed is left to the alarm, which may not have come to it yet.
        """
        now = time.monotonic()
        batch = [request for request in batch if request in self._unanswered and request.deadline > now]
        if not batch:
            return []
        rows = sum(request.rows for request in batch)
        batch[0].is_oldest = True
        for request in batch:
            request.batch_rows = rows
        # The others need the result even after the deadline of the first of them.
        deadline = max(request.deadline for request in batch)
        try:
            results = self._call(batch[0].key, [request.item for request in batch], deadline)
            return list(zip(batch, results, strict=True))
        except ROW_LEVEL_ERRORS as exc:
            if len(batch) == 1:
                return [(batch[0], _Failed(exc))]
            if not is_probed and (failure := self._failure(batch[0].key, deadline)):
                return [(request, failure) for request in batch]
            size = math.ceil(len(batch) / PARTS)
            parts = (batch[first : first + size] for first in range(0, len(batch), size))
            return [outcome for part in parts for outcome in self._outcomes(part, is_probed=True)]
        except Exception as exc:
            return [(request, _Failed(exc)) for request in batch]

    def _failure(self, key: Hashable, deadline: float) -> "_Failed | None":
        """What is wrong with whoever is called; nothing where the items must be at fault."""
        if self._probe is not None:
            try:
                self._probe(key, deadline)
            except Exception as exc:
                return _Failed(exc)
        return None

    def _wake_at(self, deadline: float) -> None:
        """One alarm for the earliest deadline of all: a timer for each request would cost more than the batcher."""
        if deadline >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.close()
        self._alarm_at = deadline
        self._alarm = self._hub.loop.timer(max(0.0, deadline - time.monotonic()))
        self._alarm.start(self._expire)

    def _expire(self) -> None:
        self._alarm_at = math.inf
        now = time.monotonic()
        for request in [request for request in self._unanswered if request.deadline <= now]:
            error = DeadlineExceeded(WAITED if request in self._queue else UNANSWERED)
            self._queue.pop(request, None)
            self._unanswered.discard(request)
            self._hub.loop.run_callback(request.waiter.switch, _Failed(error))
        if self._unanswered:
            self._wake_at(min(request.deadline for request in self._unanswered))


class _Failed(NamedTuple):
    error: Exception
