"""`LogWriter`: a log whose reader may be slow, or gone, without holding up the process."""

import os
import threading
from collections.abc import Callable
from typing import Any

from wsgiapp.observability.metrics import LOG_LINES_DROPPED

# A pipe holds 64 KiB. What waits for it here is some 5,000 lines of an access log.
MAX_BYTES = 1024 * 1024
# One by one, each line would cost a switch to supervisord, which copies them.
FLUSH_BYTES = 64 * 1024


class LogWriter:
    """Writes lines to a descriptor from a native thread, in batches.

    A write to a pipe that nobody reads waits without an end, and the event loop would wait with it. Here the lines
    wait, up to `MAX_BYTES`; further ones are dropped and counted, in `wsgiapp_log_lines_dropped_total` and, as soon as
    the log can be written again, in a line of its own, which `notice` makes of their number. The metric's label is
    `log`.
    """

    def __init__(self, descriptor: int, log: str, notice: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._notice = notice
        self._count_dropped = LOG_LINES_DROPPED.labels(log).inc
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._dropped = 0
        self._due = self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"{log} log", daemon=True)
        self._thread.start()

    def write(self, line: bytes, /) -> Any:
        """Add a line, with its end, for the next batch; never waits."""
        with self._changed:
            if self._dropped or self._bytes + len(line) > MAX_BYTES:
                self._dropped += 1
                self._count_dropped()
                self._due = True
                return
            self._lines.append(line)
            self._bytes += len(line)
            if self._bytes >= FLUSH_BYTES:
                self._wake()

    def flush(self) -> None:
        """Have what waits written now; does not wait for it."""
        with self._changed:
            if self._lines:
                self._wake()

    def close(self, seconds: float) -> None:
        """Write what waits, for at most so long. The descriptor stays open."""
        with self._changed:
            self._closed = True
            self._wake()
        self._thread.join(seconds)

    def _wake(self) -> None:
        self._due = True
        self._changed.notify()

    def _run(self) -> None:
        unsaid = 0
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                lines, self._lines, self._bytes = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
                self._due, closed = self._closed, self._closed
            unsaid += dropped
            try:
                self._write_all(b"".join(lines))
            except OSError:  # whoever reads the log has gone; that must neither fail requests nor be logged
                unsaid += len(lines)
                self._count_dropped(len(lines))
            else:
                unsaid = self._say(unsaid)
            if closed:
                return

    def _say(self, dropped: int) -> int:
        """Write how many lines were dropped; how many are still to be said."""
        if dropped:
            try:
                self._write_all(self._notice(dropped))
            except OSError:
                return dropped
        return 0

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
