"""`GuessThrottle`: how many wrong tokens came within the minute, from each address and altogether, to all workers."""

import contextlib
import hashlib
import ipaddress
import logging
import math
import mmap
import os
import time
from pathlib import Path

from wsgiapp.errors import RateLimited
from wsgiapp.observability.owned_files import open_owned

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60
MAX_BY_ADDRESS = 10
MAX_TOGETHER = 100
COUNT_BITS = 24
NUMBERS = 16384  # 128 KiB
SALT_BYTES = 16
IPV6_PREFIX = 64  # what one client has


class GuessThrottle:
    """Counts in a file in memory, without a lock, as `Counts` does; there, addresses share numbers by a salted hash.

    The few counts that are lost where two workers write at once make a guesser's limit 10 or 11.
    """

    def __init__(self, path: Path) -> None:
        size = NUMBERS * 8
        memory = mmap.mmap(-1, size + mmap.PAGESIZE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open_owned(path, os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(file, 0, len(memory))
                memory = mmap.mmap(file, len(memory))
            finally:
                os.close(file)
        except OSError as exc:
            log.error("%s: %s; this worker counts wrong tokens for itself", path, exc.strerror)
        self._counts = memoryview(memory)[:size].cast("q")
        self._salt = _salt(memoryview(memory)[size : size + SALT_BYTES])

    def require_room(self, address: str) -> None:
        """Raise `RateLimited` where an address may try no more: nothing that it sends is looked at.

        Above the limit for all, that is any address that has been wrong once; others go on.
        """
        wrong = self._count(self._place(address))
        if wrong >= MAX_BY_ADDRESS or (wrong and self._count(0) >= MAX_TOGETHER):
            rest = WINDOW_SECONDS - time.monotonic() % WINDOW_SECONDS
            raise RateLimited("Authorization: too many wrong tokens; try again later", math.ceil(rest))

    def note_wrong(self, address: str) -> None:
        """One more wrong token."""
        for place in (0, self._place(address)):
            self._counts[place] = (_window() << COUNT_BITS) + self._count(place) + 1

    def _count(self, place: int) -> int:
        window, count = divmod(self._counts[place], 1 << COUNT_BITS)
        return count if window == _window() else 0

    def _place(self, address: str) -> int:
        with contextlib.suppress(ValueError):
            parsed = ipaddress.ip_address(address)
            if parsed.version == 6:
                address = str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
        digest = hashlib.blake2b(address.encode("utf-8", "replace"), key=self._salt, digest_size=8).digest()
        return 1 + int.from_bytes(digest, "big") % (NUMBERS - 1)


def _salt(place: memoryview) -> bytes:
    """All workers' salt, by which nobody knows whose address counts beside another one. The first one makes it."""
    if not any(place):
        place[:] = os.urandom(SALT_BYTES)
    return bytes(place)


def _window() -> int:
    return int(time.monotonic()) // WINDOW_SECONDS
