"""Progress on a terminal, of any size."""

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from wsgiapp.cli import progress


@pytest.mark.parametrize(("columns", "shown"), [(0, "starting 1 s a b".ljust(79)), (10, "starting ")])
def test_one_line_that_fits(monkeypatch: pytest.MonkeyPatch, columns: int, shown: str) -> None:
    """A terminal that nobody has sized has 0 columns; what is reported may have line breaks."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 0, columns, 0, 0))
    with os.fdopen(terminal, "w") as stream, os.fdopen(controller, "rb", buffering=0) as seen:
        monkeypatch.setattr(sys, "stderr", stream)
        progress.show("starting 1 s a\nb")
        assert seen.read(1000) == f"\r{shown}".encode()
