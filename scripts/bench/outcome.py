"""What a load is, and what came of it."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# An answer that comes later is of no use to whoever waits for it.
USEFUL_SECONDS = 1.0


@dataclass(frozen=True)
class Load:
    """Closed loop: each of `connections` sends its next request when its answer has come.

    Open loop (`rate` > 0, requests a second): requests are due at fixed times, whatever the service does; each takes
    an idle connection or opens one, `connections` at most, and waits where there is none. Its latency counts from the
    time it was due, so that a service that stalls cannot hide the requests that it kept from being sent.
    """

    host: str
    port: int
    connections: int
    seconds: float
    warm_up_seconds: float = 0.5
    keep_alive: bool = True
    rate: float = 0.0
    timeout_seconds: float = 5.0
    watched: tuple[int, ...] = ()  # process ids whose CPU time is read at both ends of the measurement


@dataclass
class Outcome:
    """The measured part of one load. Latencies are of right answers only, in seconds."""

    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    sample: str = ""  # the first thing that went wrong
    generator_cpu: float = 0.0  # seconds
    cpu: dict[int, float] = field(default_factory=dict)  # seconds by process id
    # When each right answer came, and when each request failed: points of time.perf_counter().
    answered_at: array[float] = field(default_factory=lambda: array("d"))
    failed_at: array[float] = field(default_factory=lambda: array("d"))
    rejections: array[float] = field(default_factory=lambda: array("d"))  # 429 and 503, from the sending

    @property
    def right(self) -> int:
        return len(self.latencies)

    @property
    def answered(self) -> int:
        """Answers, right or wrong, and requests that got none."""
        return self.right + self.errors.total()

    @property
    def throughput(self) -> float:
        """Right answers a second."""
        return self.right / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Right answers a second that came in useful time."""
        useful = sum(1 for latency in self.latencies if latency <= USEFUL_SECONDS)
        return useful / self.seconds if self.seconds else 0.0

    def wrong(self, kind: str, detail: str) -> None:
        """Count an error."""
        self.errors[kind] += 1
        self.failed_at.append(time.perf_counter())
        if not self.sample:
            self.sample = f"{kind}: {detail}"


class CpuClock:
    """Reads the CPU time of this process and of others."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._own = time.process_time()
        self._others = cpu_seconds(self._pids)

    def stop(self, outcome: Outcome) -> None:
        """Write down what was used since this object was made."""
        outcome.generator_cpu = time.process_time() - self._own
        for pid, seconds in cpu_seconds(self._pids).items():
            outcome.cpu[pid] = seconds - self._others.get(pid, 0.0)


def cpu_seconds(pids: Iterable[int]) -> Mapping[int, float]:
    """CPU time by process id; processes that ended are left out.

    From the process's own CPU clock, which has nanoseconds and counts threads that have ended: a channel made for each
    request starts and ends several, which /proc/PID/task/*/schedstat forgets (measured: 0.06 s of 1.1 s).
    """
    seconds = {}
    for pid in pids:
        try:
            seconds[pid] = time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), CPUCLOCK_SCHED
        except OSError:
            continue
    return seconds


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1) of all values do not exceed; `nan` where there is none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
