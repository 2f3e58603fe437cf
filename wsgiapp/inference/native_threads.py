"""`NativeThreads`: native threads for what would hold up the event loop."""

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from gevent.hub import Hub, get_hub
from gevent.monkey import get_original
from gevent.threadpool import ThreadPool

Value = TypeVar("Value")

# By how much nicer than the event loop the threads are: a loop that has something to do gets the processor before them
# (sched(7); a thread has a nice value of its own on Linux).
NICE = 5
_thread = get_original("threading", "local")()


class NativeThreads:
    """Runs functions on at most `max_threads` threads, further ones wait; the caller's greenlet waits, the loop turns.

    Each event loop has threads of its own: under a threaded WSGI server every thread has a loop.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._pools: WeakKeyDictionary[Hub, ThreadPool] = WeakKeyDictionary()

    def run(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """What `function` returns, or raises."""
        hub = get_hub()
        pool = self._pools.get(hub)
        if pool is None:
            pool = self._pools[hub] = ThreadPool(self._max_threads, hub)
        value, error = pool.apply(_outcome, (function, arguments))
        if error is not None:
            raise error
        return value


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """What a task raises, gevent's pool would print with its traceback."""
    if not hasattr(_thread, "is_nice"):
        _thread.is_nice = os.nice(NICE)
    try:
        return function(*arguments), None
    except Exception as exc:
        return None, exc
