"""What keys use is counted across processes, without a lock that a process could be stopped with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.processes import poll
from wsgiapp.access import counts as counts_module
from wsgiapp.access.counts import ROW, Counts

# Takes what it can of a bucket for some time, at a pace of a busy worker, and counts it.
WORKER = """
import sys, time
from pathlib import Path
from wsgiapp.access.counts import Counts
path, seconds, rate, burst = sys.argv[1], *map(float, sys.argv[2:])
counts, taken, last = Counts(Path(path), 2), 0, 0.0
print("ready", flush=True)
start = float(sys.stdin.readline())
while time.time() < start + seconds:
    if not counts.take(1, rate, int(burst)):
        counts.add(1)
        taken, last = taken + 1, time.time()
    time.sleep(0.0002)
print(taken, last)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.counts"


def worker(path: Path, *arguments: str) -> Any:
    """A process that has the file open, and waits for a line."""
    command = [sys.executable, "-c", WORKER, str(path), *arguments]
    started: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "ready\n"
    return started


def test_a_bucket_is_one_bucket_for_all_workers(path: Path) -> None:
    """Within a few percent of what one process would let through: the rate times the time, and the burst."""
    rate, burst, seconds = 400.0, 100, 1.0
    workers = [worker(path, str(seconds), str(rate), str(burst)) for _ in range(3)]
    start = time.time()
    for each in workers:
        each.stdin.write(f"{start}\n")
        each.stdin.flush()
    printed = [each.communicate(timeout=60)[0].split() for each in workers]
    taken, last = sum(int(count) for count, _ in printed), max(float(moment) for _, moment in printed)
    assert burst <= taken <= (rate * (last - start) + burst) * 1.03
    assert Counts(path, 2).of_today(1) == taken, "counted exactly, by processes that have ended, too"


def test_a_bucket_fills_up_again(path: Path) -> None:
    counts = Counts(path, 2)
    assert [counts.take(1, 5.0, 3) for _ in range(3)] == [0.0] * 3
    wait = counts.take(1, 5.0, 3)
    assert 0 < wait <= 0.2
    time.sleep(wait)
    assert counts.take(1, 5.0, 3) == 0.0
    assert counts.take(1, 5.0, 3) > 0


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e18, -1e18])
def test_a_bucket_from_another_boot_or_of_another_rate_keeps_nobody_for_long(path: Path, garbage: float) -> None:
    counts = Counts(path, 2)
    counts._times[ROW] = garbage
    assert counts.take(1, 2.0, 10) <= 0.5


def test_a_day_s_count_outlives_processes_and_ends_with_the_day(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Counts(path, 2)
    for _ in range(3):
        first.add(1)
    second = Counts(path, 2)
    second.add(1)
    assert first.of_today(1) == second.of_today(1) == 4
    assert first._own != second._own
    today = counts_module._today()
    monkeypatch.setattr(counts_module, "_today", lambda: today + counts_module.DAY)
    assert first.of_today(1) == 0
    first.add(1)
    assert first.of_today(1) == 1
    monkeypatch.setattr(counts_module, "_today", lambda: today)  # a clock that was wrong
    assert first.of_today(1) == 1, "the second one's"
    first.add(1)
    assert first.of_today(1) == 2


def test_a_killed_worker_s_place_is_free_and_a_stopped_one_holds_nobody_up(path: Path) -> None:
    child = worker(path, "0", "1", "1")
    try:
        os.kill(child.pid, signal.SIGSTOP)
        beside = Counts(path, 2)
        beside.add(1)
        assert (beside.take(1, 1.0, 1), beside.of_today(1), beside._own) == (0.0, 1, 2)
    finally:
        child.kill()
        child.wait()
    poll(lambda: Counts(path, 2)._own == 1, 10, "the place of the one that was killed")


def test_more_keys_than_before(path: Path) -> None:
    counts = Counts(path, 2)
    counts.add(1)
    counts.grow(5000)
    counts.add(4999)
    assert (counts.of_today(1), counts.of_today(4999), Counts(path, 5000).of_today(4999)) == (1, 1, 1)


def test_a_disk_without_room_leaves_a_worker_that_counts_for_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    counts = Counts(tmp_path / "file/keys.counts", 2)
    counts.add(1)
    assert (counts.of_today(1), counts.take(1, 1.0, 1)) == (1, 0.0)
    counts.grow(1000)
    assert counts.of_today(1) == 1, "nothing is forgotten"
    (record,) = caplog.records
    assert "File exists; this worker counts the keys' requests for itself" in record.getMessage()
