"""`Silence`: which processes have shown no sign of life for too long."""

from collections.abc import Collection, Iterable

# For a process that a signal has stopped: nothing else explains its silence. Who stops it for a moment, to look at it,
# takes less; the model server is asked once a second.
STOPPED_SECONDS = 1.5
MAX_PAUSE_SECONDS = 120.0
# Whatever has lived for so long since it was replaced starts afresh.
FORGET_SECONDS = 600.0

Key = tuple[str, int]  # a process's name and pid


class Silence:
    """Seconds of silence by process, and which of them may be replaced now."""

    def __init__(self, limit: float) -> None:
        """`limit` is in seconds."""
        self._limit = limit
        self._now = 0.0
        self._seconds: dict[Key, float] = {}
        self._stopped: Collection[Key] = ()
        self._replaced: dict[str, tuple[float, int]] = {}  # by name: when, and how often in a row

    def round(self, seconds: float, watched: Iterable[Key], alive: Collection[Key], stopped: Collection[Key]) -> None:
        """After `seconds`: who is watched, who of them has shown a sign of life, and whom a signal has stopped."""
        self._now += seconds
        self._stopped = stopped
        self._seconds = {key: 0.0 if key in alive else self._seconds.get(key, 0.0) + seconds for key in watched}

    def of(self, key: Key) -> float:
        """Seconds since its last sign of life."""
        return self._seconds.get(key, 0.0)

    def to_replace(self, expected: int) -> list[Key]:
        """Those to replace now: one at a time, and the next one when all `expected` are back; all at once where nobody
        is left to answer.
        """
        hung = [key for key, seconds in self._seconds.items() if seconds >= self._limit_of(key) and self._is_due(key)]
        if not hung or len(hung) == len(self._seconds):
            return hung
        return hung[:1] if len(self._seconds) >= expected else []

    def replaced(self, key: Key) -> None:
        """Note that it was; it is not again for a while, which doubles each time."""
        when, times = self._replaced.get(key[0], (self._now, 0))
        self._replaced[key[0]] = (self._now, 1 if self._now > when + FORGET_SECONDS else times + 1)
        self._seconds.pop(key, None)

    def _limit_of(self, key: Key) -> float:
        return min(self._limit, STOPPED_SECONDS) if key in self._stopped else self._limit

    def _is_due(self, key: Key) -> bool:
        when, times = self._replaced.get(key[0], (0.0, 0))
        return not times or self._now >= when + min(self._limit * 2**times, MAX_PAUSE_SECONDS)
