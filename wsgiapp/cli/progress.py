"""Progress on a terminal."""

import os
import sys


def show(line: str) -> None:
    """One line that is overwritten on a terminal; nothing elsewhere, where it would fill a log."""
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)


def end() -> None:
    """What follows is on a line of its own."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
