"""How far the benchmark is, and how long it still takes."""

from __future__ import annotations

import shutil
import sys
import time

BAR = 24


class Progress:
    """A bar that is rewritten on a terminal, plain lines anywhere else. `total` and `spent` are in seconds."""

    def __init__(self, total: float) -> None:
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

    def spend(self, seconds: float) -> None:
        """A step that was planned to take this long is over."""
        self._spent += seconds

    def say(self, line: str) -> None:
        """A line that stays."""
        self.clear()
        print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the terminal's line empty."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _remaining(self) -> float:
        """By the plan, corrected by how the plan has held so far."""
        passed = time.monotonic() - self._started
        pace = passed / self._spent if self._spent > 0.05 * self._total else 1.0
        return max(0.0, (self._total - self._spent) * pace)
