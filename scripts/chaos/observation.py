"""What clients saw of a fault: two steady loads, one on kept connections and one on new ones, every answer compared."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from bench.loadprocess import LoadProcess
from bench.outcome import Load, Outcome

# The load runs alone for so long before a fault, so that what went wrong before is seen, too.
LEAD_SECONDS = 1.0
CONNECTIONS = 200
# More than any deadline and Nginx's own time-outs in front of it.
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Observation:
    """`errors`: requests by what came instead of the right answer. Seconds; `seconds_to_good` from the fault on."""

    requests: int
    errors: Counter[str]
    max_gap: float
    seconds_to_good: float
    sample: str


class Observer:
    """Sends `rate` texts a second, half of them on connections that are kept, half on new ones."""

    def __init__(self, generators: Sequence[LoadProcess], host: str, port: int, rate: float) -> None:
        """`generators` are two processes: each runs one load at a time."""
        self._generators = generators
        self._host, self._port, self._rate = host, port, rate

    def observe(self, act: Callable[[], None], seconds: float) -> Observation:
        """What clients see while `act` is done, and until so many seconds after its beginning."""
        loads = [self._load(seconds + LEAD_SECONDS, keep_alive) for keep_alive in (True, False)]
        with ThreadPoolExecutor(len(loads)) as threads:
            running = [
                threads.submit(generator.run, load, "text")
                for generator, load in zip(self._generators, loads, strict=True)
            ]
            time.sleep(LEAD_SECONDS)
            acted_at = time.perf_counter()
            act()
            outcomes = [each.result() for each in running]
        return observation(outcomes, acted_at)

    def _load(self, seconds: float, keep_alive: bool) -> Load:
        return Load(
            self._host,
            self._port,
            CONNECTIONS,
            seconds,
            warm_up_seconds=0.0,
            keep_alive=keep_alive,
            rate=self._rate / 2,
            timeout_seconds=TIMEOUT_SECONDS,
        )


def observation(outcomes: Sequence[Outcome], acted_at: float) -> Observation:
    """The sum of what several loads saw; `acted_at` is a point of `time.perf_counter()`."""
    errors: Counter[str] = sum((outcome.errors for outcome in outcomes), Counter())
    answered = sorted(moment for outcome in outcomes for moment in outcome.answered_at)
    failed = [moment for outcome in outcomes for moment in outcome.failed_at]
    gaps = [after - before for before, after in pairwise(answered)]
    good = next((moment for moment in answered if moment > max(failed, default=acted_at)), float("nan"))
    return Observation(
        requests=sum(outcome.answered for outcome in outcomes),
        errors=errors,
        max_gap=max(gaps, default=float("nan")),
        seconds_to_good=good - acted_at,
        sample=next((outcome.sample for outcome in outcomes if outcome.sample), ""),
    )
