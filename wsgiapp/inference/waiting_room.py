"""`WaitingRoom`: where predictions wait while there is no worker to take them.

Nginx lets few through at a time, so that under overload it rejects the others at a small part of what they cost a
worker. A stack whose workers have all died, or hang, is not overloaded: whoever comes has to wait for the next one.
Nginx sees no difference, but it can ask at one more address. That leads to the socket of all workers, until one of them
has no room left, though its predictions end one after the other: then nobody listens there for a while.
"""

import os
import socket
import time
from contextlib import suppress

from wsgiapp.settings.schema import Settings

COMMON, NOBODY, DOOR = "app.sock", "nobody.sock", "waiting.sock"
# How long it stays closed. Under overload the workers close it again at once; but each time some hundreds have come in,
# whom they reject at three times the cost (measured at six times saturation: with 2 s here, 5% fewer answers).
CLOSED_SECONDS = 10.0
# A worker that is full says so no more often.
PAUSE_SECONDS = 0.05


class WaitingRoom:
    """Its door is a symbolic link: to the socket of all workers, or to one that nobody listens on."""

    def __init__(self, settings: Settings) -> None:
        self._run = settings.run
        self._door = settings.run / DOOR
        self._closed_at = -PAUSE_SECONDS

    def make(self) -> None:
        """Open it where there is none yet. Raises `OSError`."""
        nobody = self._run / NOBODY
        if not nobody.exists():
            with socket.socket(socket.AF_UNIX) as unused:
                unused.bind(str(nobody))
        if not self._door.is_symlink():
            self._lead_to(COMMON)

    def close(self) -> None:
        """Let nobody in for a while; nothing where Nginx has no such address. Never raises."""
        now = time.monotonic()
        if now < self._closed_at + PAUSE_SECONDS:
            return
        self._closed_at = now
        with suppress(OSError):
            if os.readlink(self._door) == COMMON:
                self._lead_to(NOBODY)

    def reopen(self) -> None:
        """Open it where it has been closed for long enough; whoever does so looks again and again."""
        with suppress(OSError):  # of a full disk, for example
            if os.readlink(self._door) != COMMON and abs(time.time() - self._door.lstat().st_mtime) > CLOSED_SECONDS:
                self._lead_to(COMMON)

    def _lead_to(self, name: str) -> None:
        beside = self._run / f"{DOOR}.{os.getpid()}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        beside.replace(self._door)
