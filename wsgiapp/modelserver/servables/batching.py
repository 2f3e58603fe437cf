"""Requests that wait at the same moment share a run (TF Serving's `batching_session.cc`).

    BatchScheduler   threads that run batches, shared by all versions of all models
    BatchedServable  a servable whose runs go through the scheduler

It differs from TF Serving's in two points: requests of incompatible shapes get batches of their own instead of an
error, and when a batch fails, its requests are run one by one, so that only the one at fault fails.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import grpc
import numpy as np

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables.batching_parameters import BatchingParameters
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import SignatureDef
from wsgiapp.tfserving.tensors import Arrays


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The rows of one request: equally long arrays by name, and where the outputs go."""

    feeds: Arrays
    rows: int
    outputs: Future[list[np.ndarray]] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class Batch:
    """Tasks that one run can answer: those of one `kind` in a `queue`, whose batches are counted together."""

    queue: Hashable
    kind: Hashable
    run: Callable[[Sequence[Task]], None]
    due: float
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0


class BatchScheduler:
    """Fills batches and runs them on `num_batch_threads` threads, first come, first served.

    A batch is run when it is full, or `batch_timeout_micros` after its first task, as soon as a thread is free.
    """

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        self._changed = threading.Condition()
        self._waiting: deque[Batch] = deque()  # in the order of their first tasks
        self._open: dict[Hashable, Batch] = {}  # those that still take tasks
        self._enqueued: Counter[Hashable] = Counter()
        for number in range(parameters.num_batch_threads):
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True).start()

    def schedule(self, queue: Hashable, kind: Hashable, run: Callable[[Sequence[Task]], None], task: Task) -> None:
        """Put a task into the open batch of `queue` and `kind`, or into a new one, which `run` will answer.

        Raises `ServingError`: INVALID_ARGUMENT for too many rows, UNAVAILABLE where `queue` is full.
        """
        with self._changed:
            batch = self._open.get((queue, kind))
            if batch is None or batch.rows + task.rows > self.parameters.run_size:
                self._check_capacity(queue)
                due = time.monotonic() + self.parameters.batch_timeout_micros / 1e6
                if batch is not None:
                    batch.due = 0.0
                batch = self._open[queue, kind] = Batch(queue, kind, run, due)
                self._waiting.append(batch)
                self._enqueued[queue] += 1
            batch.tasks.append(task)
            batch.rows += task.rows
            if batch.rows >= self.parameters.run_size:
                batch.due = 0.0
            self._changed.notify()

    def _check_capacity(self, queue: Hashable) -> None:
        enqueued, limit = self._enqueued[queue], max(1, self.parameters.max_enqueued_batches)
        if enqueued >= limit:
            problem = texts.BATCHING_QUEUE_FULL.format(enqueued=enqueued, maximum=limit)
            raise ServingError(grpc.StatusCode.UNAVAILABLE, problem)

    def _work(self) -> None:
        while True:
            batch = self._next()
            batch.run(batch.tasks)
            del batch  # a reference to the servable, which may be unloaded before the next batch comes

    def _next(self) -> Batch:
        """The first batch that is due, taken from the queue."""
        with self._changed:
            while True:
                now = time.monotonic()
                for batch in self._waiting:
                    if batch.due <= now:
                        self._take(batch)
                        return batch
                self._changed.wait(min((batch.due - now for batch in self._waiting), default=None))

    def _take(self, batch: Batch) -> None:
        self._waiting.remove(batch)
        self._enqueued[batch.queue] -= 1
        if not self._enqueued[batch.queue]:
            del self._enqueued[batch.queue]
        if self._open.get((batch.queue, batch.kind)) is batch:
            del self._open[batch.queue, batch.kind]


class BatchedServable:
    """A servable whose concurrent runs of the same tensors share one run of the servable behind it."""

    def __init__(self, servable: Servable, scheduler: BatchScheduler) -> None:
        self.signatures: Mapping[str, SignatureDef] = servable.signatures
        self._servable = servable
        self._scheduler = scheduler
        self._parameters = scheduler.parameters

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        """As `servable.Servable.run`. Dimension 0 of every feed, and of every output, must be the rows of the batch."""
        rows = _rows(feeds)
        if rows > self._parameters.max_batch_size:
            raise invalid_argument(texts.TASK_TOO_LARGE.format(size=rows, maximum=self._parameters.max_batch_size))
        if rows == 0:  # nothing that padding could repeat
            return self._servable.run(feeds, fetches)
        names = tuple(sorted(set(fetches)))
        queue = (self, tuple(sorted(feeds)), names)
        tasks = [
            Task({name: array[start : start + size] for name, array in feeds.items()}, size)
            for start, size in _portions(rows, self._parameters.run_size)
        ]
        for task in tasks:
            self._scheduler.schedule(queue, self._kind(task.feeds), lambda batch: self._answer(batch, names), task)
        portions = [task.outputs.result() for task in tasks]
        values = portions[0] if len(portions) == 1 else [np.concatenate(parts) for parts in zip(*portions, strict=True)]
        by_name = dict(zip(names, values, strict=True))
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """As `servable.Servable.close`."""
        self._servable.close()

    def _kind(self, feeds: Arrays) -> Hashable:
        """What the feeds of tasks must have in common, so that they can be concatenated."""
        padded = self._parameters.pad_variable_length_inputs
        return tuple(
            (name, array.dtype.str, array.ndim if padded and array.size else array.shape[1:])
            for name, array in sorted(feeds.items())
        )

    def _answer(self, tasks: Sequence[Task], names: Sequence[str]) -> None:
        """Run the tasks together; where that fails, each alone, so that only the one at fault fails."""
        try:
            values = self._run_together(tasks, names)
        except Exception as exc:
            if len(tasks) == 1:
                tasks[0].outputs.set_exception(exc)
                return
            for task in tasks:
                self._answer([task], names)
            return
        start = 0
        for task in tasks:
            task.outputs.set_result([value[start : start + task.rows] for value in values])
            start += task.rows

    def _run_together(self, tasks: Sequence[Task], names: Sequence[str]) -> list[np.ndarray]:
        rows = sum(task.rows for task in tasks)
        size = next((allowed for allowed in self._parameters.allowed_batch_sizes if allowed >= rows), rows)
        feeds = {name: _merged([task.feeds[name] for task in tasks], size - rows) for name in tasks[0].feeds}
        values = self._servable.run(feeds, names)
        for value in values:
            if value.ndim == 0:
                raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, texts.BATCHED_OUTPUT_IS_SCALAR)
            if len(value) != size:
                raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, texts.WRONG_BATCHED_OUTPUT)
        return values


def _rows(feeds: Arrays) -> int:
    """Dimension 0 of the feeds. Raises `ServingError` (INVALID_ARGUMENT) where they differ."""
    if not feeds:
        raise invalid_argument(texts.NO_BATCHING_INPUT)
    if any(array.ndim == 0 for array in feeds.values()):
        raise invalid_argument(texts.BATCHING_INPUT_IS_SCALAR)
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise invalid_argument(texts.DIFFERENT_BATCHING_INPUTS)
    return sizes.pop()


def _portions(rows: int, size: int) -> list[tuple[int, int]]:
    """Where the runs of a request start, and how long they are."""
    return [(start, min(size, rows - start)) for start in range(0, rows, size)]


def _merged(arrays: Sequence[np.ndarray], padding: int) -> np.ndarray:
    """The arrays below each other, each padded to the maximum of every other dimension, then `padding` more rows.

    Padding repeats what is there, the first element or the first row of the last array: values that the model takes.
    """
    widest = tuple(np.max([array.shape[1:] for array in arrays], axis=0).tolist()) if arrays[0].ndim > 1 else ()
    parts = [_widened(array, widest) for array in arrays]
    if padding:
        parts.append(np.repeat(parts[-1][:1], padding, axis=0))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _widened(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape[1:] == shape:
        return array
    widened = np.full((len(array), *shape), array.flat[0], dtype=array.dtype)
    widened[tuple(map(slice, array.shape))] = array
    return widened
