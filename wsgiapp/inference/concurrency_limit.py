"""`ConcurrencyLimit`: how many calls at a time are of use, found from how long they take.

It is Gradient2 of Netflix's concurrency-limits (`Gradient2Limit` over `WindowedLimit`), with its constants: the time
that calls take now, window by window, is compared with their long-term average; where they take more than 1.5 times as
long, the limit shrinks, otherwise it grows, unless less than half of it is used.

Two things are added, because a machine of two cores is saturated for hours, where Netflix adds machines:

- While calls wait for the limit and it could shrink, a window does not count for the long-term average. Otherwise the
  average follows the overload, and the limit creeps up with it, to four times its value in ten minutes.
- The limit is at least what is answered within `MIN_WORK_SECONDS`. Calls that are batched take longer the more there
  are of them, and are cheaper for it: for a model of 1,400 answers a second a limit of 4 would halve that.
"""

MIN_LIMIT = 2
TOLERANCE = 1.5
SMOOTHING = 0.2
MAX_QUEUE_SIZE = 4.0
# So much of a small limit: 4 more than a limit of 2 would be three times as much as is of use.
QUEUE_SHARE = 0.125
LONG_WINDOWS = 600
WARM_UP_WINDOWS = 10
MIN_GRADIENT = 0.5
# A long-term average that is more than twice what calls take now comes down this fast: the overload is over.
RECOVERY = 0.95

# A window ends after these seconds, with so many calls; one with fewer calls goes on for MAX_WINDOW_SECONDS at most.
WINDOW_SECONDS = 0.1
WINDOW_CALLS = 10
MAX_WINDOW_SECONDS = 1.0

MIN_WORK_SECONDS = 0.05
# What was answered in a window counts for so much less in the next one.
FORGETTING = 0.9


class ConcurrencyLimit:
    """`limit` calls at a time. It asks no clock: whoever tells of a call's end says when that was.

    `seconds_per_cost`: how long one unit of cost takes with as many calls in flight as there were of late; 0 before
    anything is known.
    """

    __slots__ = (
        "_average",
        "_begins",
        "_calls",
        "_cost",
        "_estimate",
        "_inflight",
        "_is_full",
        "_max_inflight",
        "_max_limit",
        "_min_limit",
        "_seconds",
        "_windows",
        "limit",
        "seconds_per_call",
        "seconds_per_cost",
    )

    def __init__(self, initial: int, max_limit: int) -> None:
        self._max_limit = max(MIN_LIMIT, max_limit)
        self._min_limit = float(MIN_LIMIT)
        self._estimate = float(min(max(initial, MIN_LIMIT), self._max_limit))
        self.limit = int(self._estimate)
        self.seconds_per_call = self.seconds_per_cost = 0.0
        self._average = 0.0
        self._windows = 0
        self._begins = 0.0
        self._calls = self._inflight = self._max_inflight = 0
        self._seconds = self._cost = 0.0
        self._is_full = False

    def ended(self, now: float, seconds: float, cost: float, inflight: int, is_full: bool) -> None:
        """A call has ended at `now` and took `seconds`; `inflight` were under way, itself among them.

        `is_full`: others waited for their turn.
        """
        if not self._calls:
            self._begins = max(self._begins, now - seconds)  # nothing was under way before
        self._calls += 1
        self._seconds += seconds
        self._cost += cost
        self._inflight += inflight
        if inflight > self._max_inflight:
            self._max_inflight = inflight
        if is_full:
            self._is_full = True
        lasted = now - self._begins
        if lasted >= WINDOW_SECONDS and (self._calls >= WINDOW_CALLS or lasted >= MAX_WINDOW_SECONDS):
            self._end_window(now, lasted)

    def _end_window(self, now: float, lasted: float) -> None:
        took = self.seconds_per_call = self._seconds / self._calls
        self.seconds_per_cost = self._seconds / (self._cost * self._inflight / self._calls)
        self._keep_throughput(self._calls / lasted)
        if not self._is_full or not self._average or self._estimate <= self._min_limit:
            self._average_in(took)
        if self._average > 2 * took:
            self._average *= RECOVERY
        if self._max_inflight >= self._estimate / 2:
            gradient = max(MIN_GRADIENT, min(1.0, TOLERANCE * self._average / took)) if took else 1.0
            wanted = self._estimate * gradient + min(MAX_QUEUE_SIZE, self._estimate * QUEUE_SHARE)
            self._estimate += SMOOTHING * (wanted - self._estimate)
        self._estimate = max(self._min_limit, min(self._max_limit, self._estimate))
        self.limit = int(self._estimate)
        self._begins = now
        self._start_window()

    def _keep_throughput(self, calls_per_second: float) -> None:
        """With nothing waiting it is what was asked for, and says only that no less is possible."""
        kept = self._min_limit * (FORGETTING if self._is_full else 1.0)
        self._min_limit = min(max(MIN_LIMIT, kept, calls_per_second * MIN_WORK_SECONDS), self._max_limit)

    def _average_in(self, took: float) -> None:
        if self._windows < WARM_UP_WINDOWS:
            self._windows += 1
            self._average += (took - self._average) / self._windows
        else:
            self._average += (took - self._average) * 2 / (LONG_WINDOWS + 1)

    def _start_window(self) -> None:
        self._calls = self._inflight = self._max_inflight = 0
        self._seconds = self._cost = 0.0
        self._is_full = False
