"""Processes that supervisord no longer looks after."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from wsgiapp.deployment.nginx import orphaned_workers
from wsgiapp.settings.schema import Settings

POLL_SECONDS = 0.2
KILL_SECONDS = 5.0


def orphaned_processes(settings: Settings) -> list[int]:
    """Process ids that belong to this home's supervisord, though it no longer runs."""
    # supervisord sets this variable for its children; it names the home.
    mark = f"SUPERVISOR_SERVER_URL=unix://{settings.control_socket}".encode()
    marked = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                marked.append(int(entry.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    own = os.getpid()
    return [pid for pid in {*marked, *orphaned_workers(settings)} if pid != own]


def end_processes(pids: list[int], seconds: float) -> None:
    """SIGTERM, then after `seconds` SIGKILL."""
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, KILL_SECONDS)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + limit
        while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def kill_process(pid: int) -> None:
    """SIGKILL; returns when it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while is_alive(pid):
        time.sleep(POLL_SECONDS / 10)


def child_processes(pid: int) -> set[int]:
    """Process ids of the children of a process, zombies too."""
    children = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile
            # proc(5): after the name, in parentheses, come the state and the parent's pid
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                children.add(int(entry.name))
    return children


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
