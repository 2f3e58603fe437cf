"""A log that nobody reads holds up nobody; what is missing from it is counted, in it and in the metrics."""

import os
import threading

import prometheus_client
import pytest

from support.processes import poll
from wsgiapp.observability.log_writer import MAX_BYTES, LogWriter


def notice(count: int) -> bytes:
    return b"dropped %d\n" % count


def dropped(log: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value("wsgiapp_log_lines_dropped_total", {"log": log}) or 0.0


class Pipe:
    """A pipe, and all that was read from it."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self._thread = threading.Thread(target=self._read)
        self._pieces: list[bytes] = []

    def read(self) -> None:
        self._thread.start()

    def _read(self) -> None:
        while piece := os.read(self.read_end, 1 << 20):
            self._pieces.append(piece)

    def lines(self) -> list[bytes]:
        """Everything, once the write end is closed."""
        os.close(self.write_end)
        self._thread.join()
        os.close(self.read_end)
        return b"".join(self._pieces).splitlines()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def test_lines_are_written_in_their_order(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_end, "order", notice)
    pipe.read()
    for number in range(5000):
        writer.write(b"%d\n" % number)
    writer.close(30)
    assert pipe.lines() == [b"%d" % number for number in range(5000)]
    assert dropped("order") == 0


def test_a_line_does_not_wait_for_others(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_end, "flush", notice)
    writer.write(b"one\n")
    writer.flush()
    assert os.read(pipe.read_end, 100) == b"one\n"
    writer.close(30)


def test_a_log_that_nobody_reads_is_dropped_and_counted(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_end, "unread", notice)
    line = b"x" * 99 + b"\n"
    written = 5 * MAX_BYTES // len(line)
    for _ in range(written):
        writer.write(line)
    assert dropped("unread") > 0
    pipe.read()
    # The number is said without another line's coming.
    poll(lambda: any(piece.startswith(b"dropped") or b"\ndropped" in piece for piece in pipe._pieces))
    before = dropped("unread")
    writer.write(b"after\n")
    writer.close(30)
    lines = pipe.lines()
    said = [int(each.split()[1]) for each in lines if each.startswith(b"dropped")]
    kept = [each for each in lines if each.startswith(b"x")]
    assert len(kept) + sum(said) == written
    assert sum(said) == before == dropped("unread")
    assert len(kept) * len(line) >= MAX_BYTES
    assert lines[-1] == b"after"


def test_a_reader_that_has_gone_is_counted_too(pipe: Pipe) -> None:
    os.close(pipe.read_end)
    writer = LogWriter(pipe.write_end, "gone", notice)
    for _ in range(3):
        writer.write(b"line\n")
        writer.flush()
    poll(lambda: dropped("gone") == 3)
    writer.close(30)
    assert dropped("gone") == 3
    os.close(pipe.write_end)


def test_a_close_waits_no_longer_than_it_may(pipe: Pipe) -> None:
    writer = LogWriter(pipe.write_end, "closed", notice)
    writer.write(b"x" * 200_000)
    writer.close(0.1)
    assert len(os.read(pipe.read_end, 10)) == 10
    pipe.read()
    writer.close(30)
    assert sum(map(len, pipe.lines())) == 200_000 - 10
