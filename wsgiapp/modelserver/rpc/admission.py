"""`Admission`: which predictions run now, and which of those that wait is next."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from wsgiapp.modelserver.errors import ServingError

DEFAULT_SLOTS = 16
# A call that waits holds a thread and its request. More of one model would only be answered after their deadlines.
MAX_WAITING = 256


class _Waiter:
    """A call in a model's queue; `admitted` is changed under the lock."""

    __slots__ = ("admitted", "turn")

    def __init__(self) -> None:
        self.admitted = False
        self.turn = threading.Event()


class Admission:
    """Shares the slots for predictions among the models.

    A model may borrow what the others leave idle. But a prediction cannot be interrupted, and so each model keeps half
    of its fair share for itself, at least one slot: however slow another one is, it never waits for that one alone. A
    slot that is free goes to the model with the fewest predictions in flight.
    """

    def __init__(self, slots: int = 0, max_waiting: int = MAX_WAITING) -> None:
        """`slots`: predictions at a time; 0: `DEFAULT_SLOTS`, and two a model where there are more."""
        self._fixed_slots = slots
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._borrowed = 0
        self.set_models(1)

    def set_models(self, count: int) -> None:
        """How many models share the slots."""
        with self._lock:
            slots = self._fixed_slots or max(DEFAULT_SLOTS, 2 * count)
            self._kept = max(1, slots // (2 * count)) if 1 < count < slots else 0
            self._shared = slots - self._kept * count if count > 1 else slots
            self._borrowed = sum(max(0, running - self._kept) for running in self._running.values())
            self._admit_next()

    @contextmanager
    def slot(self, model: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Hold a slot for the body. Raises `ServingError` where it is not to be run: the queue of the model is full, or
        the client cancelled the call, or its deadline passed, while it waited."""
        self._enter(model, context)
        try:
            yield
        finally:
            with self._lock:
                self._leave(model)
                if self._waiting:
                    self._admit_next()

    def waiting(self, model: str) -> int:
        """How many of a model's calls wait now."""
        with self._lock:
            return len(self._waiting.get(model, ()))

    def _enter(self, model: str, context: grpc.ServicerContext) -> None:
        with self._lock:
            if model not in self._waiting and self._may_run(model):
                self._begin(model)
                return
            queue = self._waiting.setdefault(model, deque())
            if len(queue) >= self._max_waiting:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    f"the queue of model {model!r} is full: {len(queue)} predictions wait for it; try again later",
                )
            waiter = _Waiter()
            queue.append(waiter)
        self._wait(model, waiter, context)

    def _wait(self, model: str, waiter: _Waiter, context: grpc.ServicerContext) -> None:
        if context.add_callback(waiter.turn.set):  # `False` for a call that has ended already
            waiter.turn.wait(context.time_remaining())
        if waiter.admitted and _is_wanted(context):
            return
        with self._lock:
            if waiter.admitted:
                self._leave(model)
                self._admit_next()
            else:
                queue = self._waiting[model]
                queue.remove(waiter)
                if not queue:
                    del self._waiting[model]
        raise ServingError(
            grpc.StatusCode.DEADLINE_EXCEEDED if context.is_active() else grpc.StatusCode.CANCELLED,
            "the call was cancelled, or timed out, before it was begun",
        )

    # Under the lock.

    def _may_run(self, model: str) -> bool:
        return self._running.get(model, 0) < self._kept or self._borrowed < self._shared

    def _begin(self, model: str) -> None:
        self._running[model] += 1
        if self._running[model] > self._kept:
            self._borrowed += 1

    def _leave(self, model: str) -> None:
        if self._running[model] > self._kept:
            self._borrowed -= 1
        self._running[model] -= 1
        if not self._running[model]:
            del self._running[model]

    def _admit_next(self) -> None:
        """Begin what may run now of the calls that wait."""
        while True:
            models = [model for model in self._waiting if self._may_run(model)]
            if not models:
                return
            model = min(models, key=lambda model: self._running.get(model, 0))
            waiter = self._waiting[model].popleft()
            if not self._waiting[model]:
                del self._waiting[model]
            self._begin(model)
            waiter.admitted = True
            waiter.turn.set()


def _is_wanted(context: grpc.ServicerContext) -> bool:
    remaining = context.time_remaining()
    return context.is_active() and (remaining is None or remaining > 0)
