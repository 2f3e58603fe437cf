"""What processes log besides requests: text on stderr."""

import io
import logging
import os
import stat
import sys
from collections.abc import Callable

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Set up logging of this process."""
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr)
    # A log that cannot be written (its reader has gone) must neither fail requests nor write about it.
    logging.raiseExceptions = False


def never_wait(descriptor: int) -> None:
    """What is logged to a pipe that is full is dropped: nobody is held up by a reader that is stopped.

    The flag belongs to all who have the pipe's end from the same place, so nothing but pipes is touched.
    """
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.set_blocking(descriptor, False)


def record(level: int, message: str) -> bytes:
    """A line as `logging` would write it, for those who may not call it."""
    made = logging.LogRecord(__name__, level, "", 0, message, None, None)
    return f"{logging.Formatter(FORMAT).format(made)}\n".encode()


class TextStream(io.TextIOBase):
    """Text for a function that takes whole lines as bytes: `sys.stderr` of a worker, and so its log."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._partial = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        lines, end, self._partial = (self._partial + text).rpartition("\n")
        if end:
            self._write(f"{lines}\n".encode(errors="backslashreplace"))
        return len(text)
