"""Process trees, their CPU time and memory, and that nothing is left behind."""

import os
import signal
import sys
from pathlib import Path

import pytest

from bench.outcome import cpu_seconds
from bench.processes import Child, Failure, command_line, memory, tree
from support.processes import poll

THREADS = """
import threading, time
def burn():
    until = time.thread_time() + 0.2
    while time.thread_time() < until: pass
for _ in range(2):
    thread = threading.Thread(target=burn); thread.start(); thread.join()
print("done", flush=True)
time.sleep(60)
"""
# A parent that ends at SIGTERM without a thought for its child, which ignores it.
FAMILY = """
import subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", code])
time.sleep(60)
"""


def test_cpu_time_counts_threads_that_have_ended(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", THREADS], tmp_path / "log", {})
    try:
        poll(lambda: "done" in (tmp_path / "log").read_text())
        assert 0.4 <= cpu_seconds([child.pid])[child.pid] < 2
        held = memory([child.pid])
        assert 2**20 < held.max_pss <= held.max_rss < 2**28 and held.pss == held.max_pss
    finally:
        child.stop()
    assert cpu_seconds([child.pid]) == {}


def test_a_stop_leaves_no_descendant(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", FAMILY], tmp_path / "log", {})
    poll(lambda: "up" in (tmp_path / "log").read_text())
    members = tree(child.pid)
    assert len(members) == 2 and "SIG_IGN" in command_line(members[1])
    child.stop()
    for pid in members:
        poll(lambda pid=pid: not command_line(pid), 5, "its end")  # type: ignore[misc]


def test_an_ended_child_shows_its_log(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "print('no model'); raise SystemExit(3)"], tmp_path / "log", {})
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(Failure, match=r"ended with 3: the end of .*log:\n    no model"):
        child.require_alive()
    child.stop()


def test_a_program_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="/no/uvicorn: No such file"):
        Child(["/no/uvicorn"], tmp_path / "log", {})


def test_ctrl_c_does_not_reach_a_child(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log", {})
    assert os.getpgid(child.pid) == child.pid != os.getpgrp()
    child.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, signal.SIGCONT)
