"""`DocumentMemory`: the memory that the JSON of one request takes, in a worker that has others to answer, too."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original

from wsgiapp.errors import Overloaded, TooLarge

DEFAULT_MAX_BYTES = 160 * 2**20
# What takes less is not counted; of the others a worker holds one at a time, and the next ones wait.
SMALL_BYTES = 4 * 2**20
WAIT_SECONDS = 10.0

# Of native threads, each of which has a loop, also where gevent has made greenlets of the others.
_local = get_original("threading", "local")()


class DocumentMemory:
    """What one request's JSON takes, counted while it is parsed; `close` gives it back."""

    def __init__(self, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._charged = 0
        self._turn: BoundedSemaphore | None = None

    def charge(self, more: int) -> None:
        """Count `more` bytes, or, where it is negative, give them back; a large document waits here for its turn.

        Raises `TooLarge` above the limit, and `Overloaded` where the turn does not come.
        """
        self._charged += more
        if self._charged > self._max_bytes:
            raise TooLarge(
                "body",
                f"its JSON would take more than {self._max_bytes:,} bytes of memory; "
                "send fewer lists, texts and numbers at a time",
            )
        if self._charged > SMALL_BYTES and self._turn is None:
            turn = _turn_of_large_ones()
            if not turn.acquire(timeout=WAIT_SECONDS):
                raise Overloaded("other large requests are being read; try again in a moment")
            self._turn = turn
            gc.disable()  # it would go through all of it again and again (measured: 20 ms), and there are no cycles

        elif self._charged <= SMALL_BYTES:
            self._end_turn()

    @contextmanager
    def alone(self, size: int) -> Iterator[None]:
        """A context in which something of `size` bytes is read that takes several times as much meanwhile."""
        needed = min(size, 2 * SMALL_BYTES)
        self.charge(needed)
        try:
            yield
        finally:
            self.charge(-needed)

    def close(self) -> None:
        """The document is gone, or handed on."""
        self._charged = 0
        self._end_turn()

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            gc.enable()
            turn.release()


def _turn_of_large_ones() -> BoundedSemaphore:
    turn: BoundedSemaphore | None = getattr(_local, "turn", None)
    if turn is None:
        turn = _local.turn = BoundedSemaphore(1)
    return turn
