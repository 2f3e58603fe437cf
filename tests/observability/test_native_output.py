"""What is printed on descriptor 2 by others than Python becomes records of the log, and outlives the process."""

import subprocess
import sys
from pathlib import Path

CHILD = """
import logging, os, sys
from pathlib import Path
from wsgiapp.observability.native_output import NativeOutput
logging.basicConfig(level="DEBUG", format="%(levelname)s %(message)s", stream=sys.stdout)
with NativeOutput(Path(sys.argv[1])) as native_output:
    exec(sys.argv[2])
os.write(2, b"past it\\n")
"""


def run(file: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CHILD, str(file), code], capture_output=True, text=True, timeout=60)


def test_what_is_printed_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "run" / "app_00.stderr"
    code = r"os.write(2, b'libpng error: one\nCorrupt \xff two\n'); native_output.log_lines(); os.write(2, b'three\n')"
    done = run(file, code)
    assert done.stdout.splitlines() == [
        "DEBUG printed: libpng error: one",
        "DEBUG printed: Corrupt \\xff two",
        "DEBUG printed: three",
    ]
    assert (done.stderr, done.returncode) == ("past it\n", 0)
    assert not file.exists()


def test_the_file_does_not_grow(tmp_path: Path) -> None:
    code = (
        "for _ in range(40):\n"
        "    os.write(2, b'x' * 9999 + b'\\n')\n"
        "    native_output.log_lines()\n"
        "print(os.stat(sys.argv[1]).st_size)"
    )
    printed = run(tmp_path / "stderr", code).stdout.splitlines()
    assert (printed[-1], len(printed)) == ("0", 41)


def test_the_last_words_of_a_process_are_logged_by_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "stderr"
    ended = run(file, "os.write(2, b'terminate called\\n' * 60 + b'  what():  bad\\n'); os.abort()")
    assert ended.returncode < 0 and ended.stdout == ""
    assert "Fatal Python error: Aborted" in ended.stderr
    words = run(file, "pass").stdout.splitlines()
    assert words[-1] == "ERROR before it ended, the process before this one printed:   what():  bad"
    assert len(words) == 50
    assert run(file, "pass").stdout == ""
    run(
        file,
        "os.write(2, b'said already\\n'); native_output.log_lines(); os.write(2, b'last\\n'); os.kill(os.getpid(), 9)",
    )
    assert run(file, "pass").stdout.splitlines() == [f"{words[-1].partition(':')[0]}: last"]
