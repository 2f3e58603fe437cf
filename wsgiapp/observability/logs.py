"""What processes log besides requests: text on stderr."""

import io
import logging
import sys
from collections.abc import Callable

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Set up logging of this process."""
    logging.basicConfig(level=level.upper(), format=FORMAT, stream=sys.stderr)
    # A log that cannot be written (its reader has gone) must neither fail requests nor write about it.
    logging.raiseExceptions = False


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
