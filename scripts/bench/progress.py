"""How far the benchmark is, and how long it still takes."""

from __future__ import annotations

import shutil
import sys
import time

BAR = 24
FIRST = 0.05


class Progress:
    """A bar that is rewritten on a terminal, plain lines anywhere else. `total` is in seconds, or in pieces of work."""

    def __init__(self, total: float, pace: float = 1.0) -> None:
        """`pace` is a first guess of the seconds that one of the total takes."""
        self._guess = pace
        self._total = max(total, 1e-9)
        self._spent = 0.0
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()

    def show(self, doing: str) -> None:
        """Say what happens now."""
        share = min(1.0, self._spent / self._total)
        left = self._remaining()
        line = f"{share:4.0%}  {left // 60:.0f}:{left % 60:02.0f} left  {doing}"
        if self._terminal:
            filled = round(share * BAR)
            width = shutil.get_terminal_size().columns - 1
            line = f"[{'#' * filled}{'.' * (BAR - filled)}] {line}"[:width]
            print(f"\r{line:<{width}}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def spend(self, amount: float) -> None:
        """So much of the total is done."""
        self._spent += amount

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the terminal's line empty."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _remaining(self) -> float:
        """Seconds, by how long the work has taken so far; at first by the guess."""
        passed = time.monotonic() - self._started
        pace = passed / self._spent if self._spent > FIRST * self._total else self._guess
        return max(0.0, (self._total - self._spent) * pace)
