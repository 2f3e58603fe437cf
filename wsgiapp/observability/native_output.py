"""`NativeOutput`: what native libraries print on stderr, as records of the log."""

import faulthandler
import logging
import os
import signal
from pathlib import Path
from typing import Self

log = logging.getLogger(__name__)

# Of what a process printed before it died: the end says why.
LAST_LINES = 50
STACKS_SIGNAL = signal.SIGUSR1


class NativeOutput:
    """Descriptor 2 as a file, whose lines are logged.

    libpng and libjpeg print what they think of a client's file straight to descriptor 2, past Python and past the log's
    format. That is of use to those who debug, and so logged at that level. What Python and the C library print there
    before they abort, nobody in the process can read any more: it stays in the file, and the next process that is given
    the same file logs it as an error. (What is in a pipe is lost with its reader, and one may be full.) Tracebacks of a
    crash (`faulthandler`) go to where descriptor 2 led before, and so do the stacks of all threads at SIGUSR1.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def __enter__(self) -> Self:
        """Log what a process before this one left in the file, and let descriptor 2 lead to it.

        Where there can be no such file (a full disk), it is in memory, and lost with the process.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            log.error("%s: %s; what is printed before a crash will be lost", self._path, exc.strerror)
            self._file = os.memfd_create(self._path.name)
        for line in self._read()[-LAST_LINES:]:
            log.error("before it ended, the process before this one printed: %s", line)
        os.ftruncate(self._file, 0)
        self._position = 0
        self._before = os.dup(2)
        os.dup2(self._file, 2)
        faulthandler.enable(self._before)
        faulthandler.register(STACKS_SIGNAL, self._before)
        return self

    def log_lines(self) -> None:
        """Log what was printed since the last time."""
        for line in self._read():
            log.debug("printed: %s", line)
        if self._position and os.fstat(self._file).st_size == self._position:
            os.ftruncate(self._file, 0)
            self._position = 0

    def __exit__(self, *exc_info: object) -> None:
        """Let descriptor 2 lead to where it led before, log the rest, and remove the file."""
        faulthandler.unregister(STACKS_SIGNAL)
        faulthandler.disable()
        os.dup2(self._before, 2)
        self.log_lines()
        os.close(self._file)
        os.close(self._before)
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[str]:
        size = os.fstat(self._file).st_size
        if size <= self._position:
            return []
        data = os.pread(self._file, size - self._position, self._position)
        self._position += len(data)
        return data.decode(errors="backslashreplace").splitlines()
