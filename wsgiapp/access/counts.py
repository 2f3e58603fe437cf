"""`Counts`: how much each key has used, in a file that all workers have in memory.

No lock: a worker that is stopped while it holds one would stop the others. Each number is 8 bytes at a place of its
own, which processors read and write whole.

A row is 64 numbers. The first is the key's bucket, which all workers write (see `take`). The others count a day's
requests, one for each worker, which writes that one alone: so the sum is exact. A worker's place is a lock on one byte
of the file, which the kernel lets go when the process ends; the successor goes on counting there. Row 0 is no key's:
its first number is the highest place that was ever used, and one.
"""

import fcntl
import logging
import mmap
import os
import struct
import time
from pathlib import Path

from wsgiapp.observability.owned_files import open_owned

log = logging.getLogger(__name__)

ROW = 64
NUMBER_BYTES = 8
DAY = 1 << 40  # what the number of a day is multiplied by, so that there is room for its count
DAY_SECONDS = 24 * 3600
PAGE_ROWS = mmap.PAGESIZE // (ROW * NUMBER_BYTES)
# Locks lie beyond what is ever written (fcntl(2): a range may begin after the end of the file).
LOCKS_AT = 2**40


class Counts:
    """The file's numbers. Where it cannot be made (a full disk), the worker counts for itself, and says so."""

    def __init__(self, path: Path, rows: int) -> None:
        self._path = path
        self._own = ROW - 1  # shared by those who find no other place free
        self._rows = 0
        self._memory: mmap.mmap | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = open_owned(path, os.O_RDWR, 0o600)
            self._own = next(filter(self._claim, range(1, ROW - 1)), ROW - 1)
        except OSError as exc:
            self._file = -1
            self._complain(exc)
        self.grow(rows)

    def grow(self, rows: int) -> None:
        """Have room for so many rows."""
        if rows <= self._rows:
            return
        rows = -(-rows // PAGE_ROWS) * PAGE_ROWS
        size = rows * ROW * NUMBER_BYTES
        memory = self._allocated(size) if self._file >= 0 else None
        if memory is None:
            memory = mmap.mmap(-1, size)
            if self._memory is not None:
                memory[: len(self._memory)] = self._memory[:]
        self._rows, self._memory = rows, memory
        view = memoryview(memory)
        self._times, self._counts = view.cast("d"), view.cast("q")

    def _allocated(self, size: int) -> mmap.mmap | None:
        """The file in memory, all of it on the disk: writing to a page that finds no room there would be a SIGBUS."""
        try:
            os.posix_fallocate(self._file, 0, size)
            return mmap.mmap(self._file, os.fstat(self._file).st_size)
        except OSError as exc:
            self._complain(exc)
            return None

    def _complain(self, error: OSError) -> None:
        log.error("%s: %s; this worker counts the keys' requests for itself", self._path, error.strerror)

    def take(self, row: int, rate: float, burst: int) -> float:
        """Take one request of a bucket; the seconds to wait where it is empty, and then none is taken.

        The generic cell rate algorithm (ITU-T I.371, the leaky bucket as a virtual scheduling algorithm): all that is
        kept is the time at which the bucket will be full. Two workers that write it within the same microsecond count
        one request for two; a clock that was set back (a new boot) never keeps more than a burst waiting.
        """
        now, interval = time.monotonic(), 1 / rate
        tolerance = (burst - 1) * interval
        full_at = max(self._times[row * ROW], now)
        if not full_at <= now + tolerance + interval:
            full_at = now + tolerance + interval
        wait = full_at - now - tolerance
        if wait > 0:
            return wait
        self._times[row * ROW] = full_at + interval
        return 0.0

    def add(self, row: int) -> None:
        """Count one request of today."""
        if self._counts[0] <= self._own:
            self._counts[0] = self._own + 1
        place = row * ROW + self._own
        count, today = self._counts[place], _today()
        self._counts[place] = count + 1 if today <= count < today + DAY else today + 1

    def of_today(self, row: int) -> int:
        """All workers' requests of today."""
        today = _today()
        numbers = self._counts[row * ROW + 1 : row * ROW + min(self._counts[0], ROW)].tolist()
        return sum([number - today for number in numbers if today <= number < today + DAY])

    def _claim(self, place: int) -> bool:
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, LOCKS_AT + place, 1, 0)
        try:
            # Of the open file, not of the process, whose other files would let it go (fcntl(2), open file description
            # locks).
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, lock)
        except OSError:
            return False
        return True


def until_tomorrow() -> float:
    """Seconds until the counts begin anew: midnight, UTC."""
    return DAY_SECONDS - time.time() % DAY_SECONDS


def _today() -> int:
    """What a count of today is added to: a day's number in the high bits, so that another day's counts are none."""
    return int(time.time()) // DAY_SECONDS * DAY
