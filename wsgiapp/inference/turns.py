"""`Turns`: which task gets a thread, and memory, next."""

import threading
from bisect import bisect
from collections import deque
from collections.abc import Callable

# Of the whole memory. A photograph of 12 million pixels, 37 MB, is small with the default of 235 MB.
SMALL_SHARE = 1 / 6
# What a turn costs besides its bytes.
TURN_BYTES = 2**20


def _no_wake() -> None:
    pass


def _number(turn: "Turn") -> int:
    return turn.number


class Turn:
    """One task: the bytes it `holds`, those it `needs` before it goes on, and its `number` in the order of arrival."""

    __slots__ = ("holds", "lane", "needs", "number", "running", "wake")

    def __init__(self) -> None:
        self.needs = self.holds = self.number = 0
        self.running = False
        self.lane: _Lane | None = None
        self.wake: Callable[[], None] = _no_wake


class _Lane:
    """Those who wait in one line, first come first served; `time` grows by what was given to the line."""

    __slots__ = ("held", "running", "time", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Turn] = deque()
        self.time = self.held = self.running = 0


class Turns:
    """Gives `max_running` threads and `max_bytes` of memory to tasks, small ones and large ones in a line each.

    Large ones leave a thread to the small ones.
    Where both lines wait, each gets the same bytes in the long run (start-time fair queueing: Goyal, Vin, Cheng, 1996),
    so that small pictures, of which there are many, do not wait for all the large ones, nor a large one for all the
    small ones. A small task may overtake a large one that waits for memory where that does not delay it. May be called
    from any thread.
    """

    def __init__(self, max_running: int, max_bytes: int) -> None:
        self._lock = threading.Lock()
        self._free_threads = max_running
        self._max_large = max(1, max_running - 1)
        self._max_bytes = self._free_bytes = max_bytes
        self._max_small = int(max_bytes * SMALL_SHARE)
        self._small, self._large = _Lane(), _Lane()
        self._now = self._number = 0

    def start(self, turn: Turn) -> bool:
        """Whether a new task may run at once; if not, it has to wait in line."""
        with self._lock:
            self._number += 1
            turn.number = self._number
            if not self._free_threads or self._small.waiting or self._large.waiting:
                return False
            self._free_threads -= 1
            turn.running = True
            return True

    def wait_in_line(self, turn: Turn, wake: Callable[[], None]) -> None:
        """`wake` is called, with a lock held and perhaps before this returns, when the task may run."""
        with self._lock:
            turn.wake = wake
            lane = self._lane_of(turn.needs)
            if not lane.waiting:
                lane.time = max(lane.time, self._now)
            # Who has been at the front already, and found no memory, comes before those who came later.
            lane.waiting.insert(bisect(lane.waiting, turn.number, key=_number), turn)
            turn.lane = lane
            self._next()

    def reserve(self, turn: Turn, size: int) -> bool:
        """Whether a running task gets `size` bytes in all; if not, it has to `finish`, and to wait in line."""
        with self._lock:
            more = size - turn.holds
            if more <= 0:
                return True
            if more > self._free_bytes or not self._is_its_turn(size, more):
                turn.needs = size
                return False
            self._charge(self._lane_of(size), size)
            self._take(turn, size)
            return True

    def finish(self, turn: Turn) -> None:
        """Give back the thread and the bytes of a running task."""
        with self._lock:
            self._finish(turn)

    def cancel(self, turn: Turn) -> None:
        """Forget a task that waits; one that may run already is finished."""
        with self._lock:
            if turn.running:
                self._finish(turn)
            elif turn.lane and turn in turn.lane.waiting:
                turn.lane.waiting.remove(turn)
                self._next()

    def _finish(self, turn: Turn) -> None:
        turn.running = False
        self._free_threads += 1
        self._take(turn, 0)
        self._next()

    def _next(self) -> None:
        while self._free_threads:
            lane = self._next_lane()
            if lane is None:
                return
            turn = lane.waiting.popleft()
            self._charge(lane, turn.needs)
            self._take(turn, turn.needs)
            self._free_threads -= 1
            turn.running, turn.lane = True, None
            turn.wake()

    def _next_lane(self) -> _Lane | None:
        """The line whose first task may run."""
        first, second = (self._large, self._small) if self._is_large_ones_turn() else (self._small, self._large)
        if self._has_room(first):
            return first
        if not self._has_room(second):
            return None
        needs = second.waiting[0].needs
        return second if not first.waiting or (second is self._small and self._delays_no_large(needs)) else None

    def _has_room(self, lane: _Lane) -> bool:
        """Whether there is memory for the first of those who wait in it."""
        if not lane.waiting or (lane is self._large and lane.running >= self._max_large):
            return False
        return lane.waiting[0].needs <= self._free_bytes

    def _is_its_turn(self, size: int, more: int) -> bool:
        if self._lane_of(size) is self._small:
            return not self._is_large_ones_turn() or self._delays_no_large(more)
        if self._large.waiting or self._large.running >= self._max_large:
            return False
        return not self._small.waiting or self._is_large_ones_turn()

    def _is_large_ones_turn(self) -> bool:
        return max(self._large.time, self._now) <= max(self._small.time, self._now)

    def _delays_no_large(self, more: int) -> bool:
        """Whether the first large task would have room, if it were for the small ones alone."""
        return not self._large.waiting or self._small.held + more + self._large.waiting[0].needs <= self._max_bytes

    def _charge(self, lane: _Lane, size: int) -> None:
        lane.time = max(lane.time, self._now)
        self._now = lane.time
        lane.time += size + TURN_BYTES

    def _take(self, turn: Turn, size: int) -> None:
        before, after = self._lane_of(turn.holds), self._lane_of(size)
        before.held -= turn.holds
        after.held += size
        self._large.running += (after is self._large) - (before is self._large)
        self._free_bytes -= size - turn.holds
        turn.holds = size

    def _lane_of(self, size: int) -> _Lane:
        return self._small if size <= self._max_small else self._large
