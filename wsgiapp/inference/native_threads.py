"""`NativeThreads`: native threads for what would hold up the event loop."""

import ctypes
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gevent.event import Event
from gevent.hub import Hub, get_hub
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

from wsgiapp.errors import DeadlineExceeded
from wsgiapp.inference.turns import Turn, Turns
from wsgiapp.pipelines.memory_budget import MemoryBudget

Value = TypeVar("Value")
# Of the budget: who holds so much shall not meet what the C library keeps of others.
MUCH_SHARE = 1 / 2

# By how much nicer than the event loop the threads are: a loop that has something to do gets the processor before them
# (sched(7); a thread has a nice value of its own on Linux).
NICE = 5
_thread = get_original("threading", "local")()


class NativeThreads:
    """Runs functions on at most `max_threads` threads, within a budget of memory; the caller's greenlet waits, the loop
    turns.

    Who waits for a thread or for memory until its deadline, or until its greenlet is killed, is dropped without being
    run. What runs is run to its end, as a thread cannot be stopped: the limits on pictures bound how long that is.
    Event loops have threads of their own, as under a threaded WSGI server, where every thread has a loop; the limits
    are the process's.
    """

    def __init__(self, max_threads: int, budget: MemoryBudget) -> None:
        self._max_threads = max_threads
        self._budget = budget
        self._turns = Turns(max_threads, budget.max_bytes)
        self._much = int(budget.max_bytes * MUCH_SHARE)
        self._pools: WeakKeyDictionary[Hub, ThreadPool] = WeakKeyDictionary()

    def run(self, deadline: float, function: Callable[..., Value], *arguments: Any) -> Value:
        """What `function` returns, or raises; `DeadlineExceeded` when that is not there at the `deadline`, in seconds
        of `time.monotonic`. A function that has to wait for memory is called again."""
        turn = Turn()
        if not self._turns.start(turn):
            self._wait(turn, deadline)
        while True:
            value, error = self._run(turn, deadline, function, arguments)
            if error is None:
                return value
            try:
                if not isinstance(error, _MustWait):
                    raise error
            finally:
                del error  # its frames hold the whole payload; raised, it holds this one, too, and that held it
            self._wait(turn, deadline)

    def _run(self, turn: Turn, deadline: float, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            outcome = self._pool().spawn(self._work, turn, function, arguments)
        except BaseException:
            self._turns.finish(turn)
            raise
        outcome.wait(max(0.0, deadline - time.monotonic()))
        if not outcome.ready():
            raise DeadlineExceeded("the request's data was not processed before the deadline")
        return outcome.get()

    def _work(
        self, turn: Turn, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> tuple[Any, Exception | None]:
        """On a thread. What a task raises, gevent's pool would print with its traceback."""
        if not hasattr(_thread, "is_nice"):
            _thread.is_nice = os.nice(NICE)
        try:
            with self._budget.asking(partial(self._reserve, turn)):
                return function(*arguments), None
        except Exception as exc:
            return None, exc
        finally:
            if turn.holds > self._much:
                _give_back_memory()
            self._turns.finish(turn)

    def _reserve(self, turn: Turn, size: int) -> None:
        if not self._turns.reserve(turn, size):
            raise _MustWait
        if size > self._much:
            _give_back_memory()

    def _wait(self, turn: Turn, deadline: float) -> None:
        """Until the task may run."""
        may_run = Event()
        watcher = get_hub().loop.async_()
        watcher.start(may_run.set)
        try:
            self._turns.wait_in_line(turn, watcher.send)
            if not may_run.wait(max(0.0, deadline - time.monotonic())):
                raise DeadlineExceeded("the request waited until its deadline for a thread or memory")
        except BaseException:
            self._turns.cancel(turn)
            raise
        finally:
            watcher.stop()
            watcher.close()

    def _pool(self) -> ThreadPool:
        hub = get_hub()
        pool = self._pools.get(hub)
        if pool is None:
            pool = self._pools[hub] = ThreadPool(self._max_threads, hub)
        return pool


def _load_malloc_trim() -> Callable[[int], int] | None:
    """glibc's `malloc_trim(3)`; other C libraries have none."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


_malloc_trim = _load_malloc_trim()


def _give_back_memory() -> None:
    """What was freed in pieces of less than 32 MB, the C library keeps; beside a large picture it is too much."""
    if _malloc_trim:
        _malloc_trim(0)


class _MustWait(Exception):
    """Ends a task on its thread, until there is memory for it."""
