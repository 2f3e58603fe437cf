"""Which lines of the logs a failing command shows."""

import os
from pathlib import Path

from wsgiapp.deployment.log_tails import MAX_LINES, MAX_LINES_EACH, LogTails


def written(folder: Path, name: str, lines: list[str], age: int) -> Path:
    path = folder / name
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def test_only_new_lines_of_the_logs_that_changed_last(tmp_path: Path) -> None:
    log = written(tmp_path, "app_00.log", ["old"], 9)
    written(tmp_path, "supervisord.log", ["quiet"], 9)
    tails = LogTails(tmp_path)
    written(tmp_path, "app_00.log", ["new"], 2)
    written(tmp_path, "nginx.log", ["first line ever"], 1)
    written(tmp_path, "app_00.access.log", ["a request"], 0)
    assert tails.newest() == f"--- {log}\nnew\n--- {tmp_path}/nginx.log\nfirst line ever"
    assert tails.of(log) == "new"
    assert tails.of(tmp_path / "supervisord.log") == "quiet", "better than nothing"
    assert tails.of(tmp_path / "none.log") == "(No such file or directory)"


def test_a_few_lines_in_all(tmp_path: Path) -> None:
    tails = LogTails(tmp_path)
    for number in range(5):
        written(tmp_path, f"{number}.log", [f"{number}/{line}" for line in range(100)], number)
    lines = [line for line in tails.newest().splitlines() if not line.startswith("---")]
    assert len(lines) == MAX_LINES
    assert lines[-MAX_LINES_EACH:] == [f"0/{line}" for line in range(90, 100)]
    assert lines[0] == "2/95"


def test_a_rotated_log(tmp_path: Path) -> None:
    log = written(tmp_path, "a.log", ["a long line of before"], 1)
    tails = LogTails(tmp_path)
    log.write_text("new\n")
    assert tails.of(log) == "new"
