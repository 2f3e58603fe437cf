"""Between Nginx and whoever reads its access log: a small process that always reads, so that Nginx never waits.

Nginx opens its log by a path, and so cannot be told not to wait for a pipe (see `logs.never_wait`). A worker of it that
waits serves nobody, for as long as supervisord is stopped or its disk takes nothing. Here lines wait, `MAX_BYTES` of
them; further ones are dropped and counted, in a line of its own as soon as there is room again.

As a program it copies descriptor 0 to descriptor 1. It imports next to nothing: it is one more process to keep.
"""

import json
import os
import select
import signal
import stat
import sys
import time

MAX_BYTES = 2**20
READ_BYTES = 2**16
PRESENT = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def put_before(descriptor: int) -> None:
    """Have a new process read what is written to a pipe from here on, and pass it on. It ends after the last writer."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    source, target = os.pipe()
    if os.fork() == 0:
        os.dup2(source, 0)
        os.dup2(descriptor, 1)
        os.execv(sys.executable, [sys.executable, "-I", "-S", __file__])
    os.dup2(target, descriptor)
    os.close(source)
    os.close(target)


class Relay:
    """Lines on their way from `source` to `sink`, whose end of a pipe belongs to this process alone."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._lines = bytearray()
        self._partial = b""
        self._dropped = 0
        self._has_ended = self._has_no_reader = False
        os.set_blocking(sink, False)

    def run(self) -> None:
        """Until there is nobody left to write. A reader that has gone is no reason to let a writer know."""
        while not self._has_ended or self._lines:
            readers = [] if self._has_ended else [self._source]
            readable, writable, _ = select.select(readers, [self._sink] if self._lines else [], [])
            if readable:
                self._read()
            if writable:
                self._write()

    def _read(self) -> None:
        data = os.read(self._source, READ_BYTES)
        self._has_ended = not data
        lines, end, self._partial = (self._partial + data).rpartition(b"\n")
        if self._has_no_reader:
            return
        if self._dropped or len(self._lines) + len(lines) > MAX_BYTES:
            self._dropped += lines.count(b"\n") + len(end)
        else:
            self._lines += lines + end

    def _write(self) -> None:
        try:
            del self._lines[: os.write(self._sink, self._lines[:READ_BYTES])]
        except BlockingIOError:
            return
        except OSError:
            self._has_no_reader = True
            self._lines.clear()
            return
        if self._dropped and len(self._lines) < MAX_BYTES // 2:
            said = {"time": round(time.time(), 3), "dropped_lines": self._dropped}
            self._lines += json.dumps(said).encode() + b"\n"
            self._dropped = 0


def main() -> None:
    """The signals that end Nginx are not for this process: it ends after it, with the last line."""
    for number in PRESENT:
        signal.signal(number, signal.SIG_IGN)
    Relay(0, 1).run()


if __name__ == "__main__":
    main()
