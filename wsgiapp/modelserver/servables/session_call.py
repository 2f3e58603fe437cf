"""A call of TensorFlow's session, on the threads that suit it."""

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# A short call runs in its caller's thread. To hand operations over to other threads costs 0.4 ms of CPU time a call
# (measured, 14 rows of a BiLSTM: 1.9 instead of 1.5 ms; one row: 0.85 instead of 0.55), but what takes longer is sooner
# done by several (a convolutional network on two cores: 26 instead of 40 ms).
SHORT_SECONDS = 0.005
TRIALS = 4
CALLERS_THREAD, POOL = -1, 0  # `RunOptions.inter_op_thread_pool`

Run = Callable[..., list[Any]]


class Trials:
    """Decides by the CPU times of a call's first runs whether it is long. The first runs may come at the same time."""

    def __init__(self, short_seconds: float) -> None:
        self._short_seconds = short_seconds
        self._lock = threading.Lock()
        self._left = TRIALS
        self._fastest = math.inf

    @property
    def are_over(self) -> bool:
        return self._left <= 0

    def record(self, seconds: float) -> bool:
        """Count a run; whether it was the last trial, and none of them took `short_seconds` or less."""
        with self._lock:
            self._left -= 1
            self._fastest = min(self._fastest, seconds)
            return self._left == 0 and self._fastest > self._short_seconds


class SessionCall:
    """A call that begins in its caller's thread, and moves to TensorFlow's pool of threads if its trials were long.

    Trials are measured in CPU time of the caller's thread, which has no other calls' time in it.
    """

    def __init__(self, prepare: Callable[[int], Run], trials: Trials) -> None:
        """`prepare` makes the call for `CALLERS_THREAD` or `POOL`."""
        self._prepare = prepare
        self._run = prepare(CALLERS_THREAD)
        self._trials = trials

    def __call__(self, *values: np.ndarray) -> list[Any]:
        if self._trials.are_over:
            return self._run(*values)
        started = time.thread_time()
        results = self._run(*values)
        if self._trials.record(time.thread_time() - started):
            self._run = self._prepare(POOL)
        return results
