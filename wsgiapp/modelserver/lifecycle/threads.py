"""Threads for what may take long (loading, closing, watching), and the patience of who waits for them."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

# Whoever waits looks so often whether there is still somebody to wait for.
LOOK_UP_SECONDS = 0.5
# Where no deadline was set: long enough to load the largest model, and nothing is stuck for ever.
LONGEST_SECONDS = 600.0


class Threads:
    """Runs tasks on daemon threads, at most `most` of them at a time.

    Unlike an executor's, its threads keep no process alive: a load that hangs cannot be ended, only left behind.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._slots = threading.Semaphore(most)
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


class Every:
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
class Patience:
    """How long to wait: until a point of `time.monotonic()`, and while somebody `is_there` for whom it is done."""

    deadline: float
    is_there: Callable[[], bool] = lambda: True

    @classmethod
    def of(cls, seconds: float | None, is_there: Callable[[], bool] = lambda: True) -> "Patience":
        """Of a caller that waits `seconds`, or did not say how long."""
        longest = LONGEST_SECONDS if seconds is None else min(seconds, LONGEST_SECONDS)
        return cls(time.monotonic() + longest, is_there)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline or not self.is_there()

    @property
    def step(self) -> float:
        """Seconds to wait before the next look whether it is over."""
        return min(LOOK_UP_SECONDS, remaining(self.deadline))


def remaining(deadline: float) -> float:
    """Seconds until a point of `time.monotonic()`, none below zero."""
    return max(0.0, deadline - time.monotonic())
