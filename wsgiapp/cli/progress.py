"""Progress on a terminal."""

import os
import sys

DEFAULT_COLUMNS = 80


def show(line: str) -> None:
    """One line that is overwritten on a terminal; nothing elsewhere, where it would fill a log."""
    if sys.stderr.isatty():
        # A terminal that nobody has sized has 0 columns.
        width = (os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_COLUMNS) - 1
        line = " ".join(line.split())
        print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)


def end() -> None:
    """What follows is on a line of its own."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
