"""What is known of processes from outside."""

import os
import signal
import sys
from pathlib import Path

import pytest

from support.processes import Process, poll
from wsgiapp.deployment import process_state


def test_a_child_and_its_child(tmp_path: Path) -> None:
    with Process([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "log", MARK="a=b") as child:
        assert process_state.is_child(child.pid, os.getpid())
        assert not process_state.is_child(os.getpid(), os.getpid())
        assert process_state.descends(child.pid, os.getppid()) and not process_state.descends(os.getpid(), child.pid)
        poll(lambda: process_state.environment_value(child.pid, "MARK") == "a=b")
        assert process_state.environment_value(child.pid, "MAR") == ""
        child.send(signal.SIGSTOP)
        poll(lambda: process_state.state(child.pid) == process_state.STOPPED)
        assert next(process_state.threads(child.pid)).startswith(f"thread {child.pid} ")
    assert process_state.state(child.pid) == "" and not process_state.is_child(child.pid, os.getpid())
    assert list(process_state.threads(child.pid)) == []


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("0::/system.slice/wsgiapp.service", "wsgiapp.service"),
        ("12:cpu:/\n1:name=systemd:/system.slice/wsgiapp.service", "wsgiapp.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/terminal.service", ""),
        ("0::/", ""),
    ],
)
def test_the_unit_of_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str, unit: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(f"{group}\n")
    monkeypatch.setattr(process_state, "PROC", tmp_path)
    assert process_state.systemd_unit(7) == unit
    assert process_state.systemd_unit(8) == ""
