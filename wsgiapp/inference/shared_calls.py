"""`SharedCalls`: the predictions of one model, in as few calls to the model server as may be."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original

from wsgiapp.backend.interface import Backend, Inputs, Target
from wsgiapp.errors import DeadlineExceeded, NotFound, Unreachable
from wsgiapp.inference import rows
from wsgiapp.inference.batch_parity import BatchParity
from wsgiapp.inference.batcher import WAITED, Batcher, BatchLimits
from wsgiapp.inference.rows import Padding
from wsgiapp.observability.metrics import BATCH_ROWS, QUEUE_SECONDS
from wsgiapp.tfserving.tensors import Arrays

MAX_SINGLE_CALLS = 4
# Targets are few; this bounds what a worker keeps over months of new versions.
MAX_TARGETS = 4096


class Served(NamedTuple):
    """Outputs by name, the version that answered, the rows of its call, and the seconds spent waiting for a slot."""

    outputs: Mapping[str, np.ndarray]
    version: int
    rows: int
    queue_seconds: float


class _Answered(NamedTuple):
    outputs: Arrays
    version: int


class SharedCalls:
    """Batches what goes to versions whose batch parity is verified; the rest is called one by one.

    The model server decides which version answers. So a batch may be answered by a version that nobody knows yet: its
    answers are thrown away then, and its requests are called one by one.
    """

    def __init__(
        self,
        model: str,
        backend: Backend,
        parity: BatchParity | None,
        limits: BatchLimits,
        padding: Padding,
        max_single_calls: int = MAX_SINGLE_CALLS,
    ) -> None:
        """Without a `parity` nothing is batched. `max_single_calls` are in flight at a time of what is called alone."""
        self._batch_rows = BATCH_ROWS.labels(model)
        self._queue_seconds = QUEUE_SECONDS.labels(model)
        self._backend = backend
        self._parity = parity
        self._limits = limits
        self._padding = padding
        self._single_calls = BoundedSemaphore(max_single_calls)
        self._versions: dict[Target, int] = {}  # that answered last
        # Of native threads, each of which has a loop, also where gevent has made greenlets of the others.
        self._local = get_original("threading", "local")()

    def predict(self, target: Target, inputs: Arrays, deadline: float) -> Served:
        """The outputs for `inputs`. Raises one of `errors.RequestError`."""
        count, width, layout = rows.form(inputs, self._padding)
        if not count or self._parity is None or not self._parity.is_verified(self._versions.get(target)):
            return self._single(target, inputs, count, deadline)
        item = (inputs, count)
        batched = self._batcher.submit((target, layout), item, rows=count, length=width, deadline=deadline)
        if batched.is_oldest:
            self._queue_seconds.observe(batched.queue_seconds)
        return Served(*batched.result, batched.rows, batched.queue_seconds)

    def _single(self, target: Target, inputs: Arrays, count: int, deadline: float) -> Served:
        """A call alone. A slow model must not take all of the model server's threads, which serve the others, too."""
        if self._single_calls.acquire(blocking=False):
            queue_seconds = 0.0
        else:
            began = time.monotonic()
            if not self._single_calls.acquire(timeout=max(0.0, deadline - began)):
                raise DeadlineExceeded(WAITED)
            queue_seconds = time.monotonic() - began
        try:
            return Served(*self._alone(target, inputs, count, deadline), count, queue_seconds)
        finally:
            self._single_calls.release()

    @property
    def _batcher(self) -> Batcher[tuple[Arrays, int], _Answered]:
        batcher: Batcher[tuple[Arrays, int], _Answered] | None = getattr(self._local, "batcher", None)
        if batcher is None:
            batcher = self._local.batcher = Batcher(self._call, self._limits, self._probe)
        return batcher

    def _call(
        self, key: tuple[Target, Any], requests: Sequence[tuple[Arrays, int]], deadline: float
    ) -> list[_Answered]:
        target = key[0]
        inputs, counts = zip(*requests, strict=True)
        answer = self._alone(target, rows.join(inputs, self._padding), sum(counts), deadline)
        if len(requests) == 1:
            return [answer]
        if self._parity is None or not self._parity.is_verified(answer.version):
            return [self._alone(target, *request, deadline) for request in requests]
        return [_Answered(part, answer.version) for part in rows.split(answer.outputs, counts)]

    def _probe(self, key: tuple[Target, Any], deadline: float) -> None:
        if self._parity is not None:
            self._parity.probe(key[0], deadline)

    def _alone(self, target: Target, inputs: Inputs, count: int, deadline: float) -> _Answered:
        try:
            outputs, version = self._backend.predict(target, inputs, deadline)
        except (NotFound, Unreachable) as exc:
            self._forget(target, exc)
            raise
        self._batch_rows.observe(count)
        if self._versions.get(target) != version:
            if len(self._versions) >= MAX_TARGETS:
                self._versions.clear()
            self._versions[target] = version
        if self._parity is not None:
            self._parity.verify_soon(version)
        return _Answered(outputs, version)

    def _forget(self, target: Target, error: NotFound | Unreachable) -> None:
        """A version that is unknown now, or any of a model server that is away, may come back with other files."""
        if self._parity is None:
            return
        if isinstance(error, Unreachable):
            self._parity.forget_all()
            return
        version = self._versions.get(target) if target.version is None else target.version
        if version is not None:
            self._parity.forget(version)
