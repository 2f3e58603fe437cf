"""Text that is printed piece by piece comes out in whole lines."""

import re
import sys
import traceback

from wsgiapp.observability import logs


def test_lines_are_written_whole() -> None:
    written: list[bytes] = []
    stream = logs.TextStream(written.append)
    print("one", "two", file=stream)
    print("half", end="", file=stream, flush=True)
    assert written == [b"one two\n"]
    print(" and \udcff half\nthree", file=stream)
    assert written[1:] == [b"half and \\udcff half\n", b"three\n"]


def test_a_traceback_is_printed_wholly() -> None:
    written: list[bytes] = []
    try:
        sys.exit("an end")
    except SystemExit as exc:
        traceback.print_exception(exc, file=logs.TextStream(written.append))
    assert b"".join(written).splitlines()[-1] == b"SystemExit: an end"


def test_a_record_looks_as_those_of_the_log() -> None:
    line = logs.record(30, "7 messages were dropped here")
    form = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING wsgiapp.observability.logs: 7 messages were dropped here\n"
    assert re.fullmatch(form, line)
