"""`WaitingRoom`: where predictions wait while there is no worker to take them.

Nginx lets few through at a time, so that under overload it rejects the others at a small part of what they cost a
worker. A stack whose workers have all died, or hang, is not overloaded: whoever comes has to wait for the next one.
Nginx sees no difference, but it can ask at one more address, which leads to the socket of all workers then; otherwise
nobody listens there.
"""

import os
import socket
from contextlib import suppress

from wsgiapp.settings.schema import Settings

COMMON, NOBODY, DOOR = "app.sock", "nobody.sock", "waiting.sock"


class WaitingRoom:
    """Its door is a symbolic link: to the socket of all workers, or to one that nobody listens on."""

    def __init__(self, settings: Settings) -> None:
        """Closed, where there is none yet. Raises `OSError`."""
        self._run = settings.run
        nobody = self._run / NOBODY
        with suppress(FileExistsError), socket.socket(socket.AF_UNIX) as unused:
            if not nobody.exists():
                unused.bind(str(nobody))
        if not (self._run / DOOR).is_symlink():
            self._lead_to(NOBODY)

    def open(self, *, is_needed: bool) -> None:
        """Open it, or close it. Raises `OSError`."""
        name = COMMON if is_needed else NOBODY
        if os.readlink(self._run / DOOR) != name:
            self._lead_to(name)

    def _lead_to(self, name: str) -> None:
        beside = self._run / f"{DOOR}.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(name)
        beside.replace(self._run / DOOR)
