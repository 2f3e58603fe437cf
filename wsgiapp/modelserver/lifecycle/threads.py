"""Threads for what may take long (loading, closing, polling), and the deadline of a call that waits for them."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

# How often a call that waits checks whether its client is still connected.
CHECK_SECONDS = 0.5
# Where a call has no deadline: long enough to load a model of many gigabytes, and no thread waits for ever.
MAX_WAIT_SECONDS = 600.0


class WorkerThreads:
    """Runs tasks on daemon threads, at most `max_threads` of them at a time.

    Unlike an executor's, its threads keep no process alive: a load that hangs cannot be ended, only left behind.
    """

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._slots = threading.Semaphore(max_threads)
        self._idle = threading.Condition()
        self._tasks = 0

    def run(self, task: Callable[[], None]) -> None:
        """Start a task, or queue it for a free slot. It has to handle its own exceptions."""
        with self._idle:
            self._tasks += 1
        threading.Thread(target=self._run, args=(task,), name=self._name, daemon=True).start()

    def join(self, seconds: float) -> bool:
        """Wait until no task is left; whether that came true in time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._tasks == 0, seconds)

    def _run(self, task: Callable[[], None]) -> None:
        try:
            with self._slots:
                task()
        except Exception:
            log.exception("%s: a task failed", self._name)
        finally:
            with self._idle:
                self._tasks -= 1
                self._idle.notify_all()


class PeriodicTask:
    """Calls `task` every `seconds` on a thread of its own, the first time after `seconds`, until `stop`."""

    def __init__(self, name: str, seconds: float, task: Callable[[], None]) -> None:
        self._seconds = seconds
        self._task = task
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Call no more; wait at most `seconds` for a call that is under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._task()
            except Exception:
                log.exception("%s failed; trying again in %.1f s", self._thread.name, self._seconds)


@dataclass(frozen=True, slots=True)
class WaitDeadline:
    """Until when to wait: a point of `time.monotonic()`, and only while the caller `is_active`."""

    deadline: float
    is_active: Callable[[], bool] = lambda: True

    @classmethod
    def after(cls, seconds: float | None, is_active: Callable[[], bool] = lambda: True) -> "WaitDeadline":
        """In `seconds`, or in MAX_WAIT_SECONDS if these are less or the caller set no deadline."""
        capped = MAX_WAIT_SECONDS if seconds is None else min(seconds, MAX_WAIT_SECONDS)
        return cls(time.monotonic() + capped, is_active)

    @property
    def has_passed(self) -> bool:
        """Whether to wait no longer; also for a caller that is no longer active."""
        return time.monotonic() >= self.deadline or not self.is_active()

    @property
    def step(self) -> float:
        """Seconds to wait before `has_passed` is asked again."""
        return min(CHECK_SECONDS, remaining(self.deadline))


def remaining(deadline: float) -> float:
    """Seconds until a point of `time.monotonic()`, 0 for one that has passed."""
    return max(0.0, deadline - time.monotonic())
