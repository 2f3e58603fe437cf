"""Process trees: who belongs to a system, and what memory they take."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GATEWAY, NGINX, MODEL_SERVER = "gateway", "nginx", "model server"
LOG_LINES = 15
STOP_SECONDS = 15.0


class Failure(Exception):
    """A system does not start, or gives wrong answers; the message has the end of its log."""


class Child:
    """A process in a group of its own, so that Ctrl-C reaches the benchmark alone, with its output in a file.

    Raises `Failure` where there is no such program.
    """

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment},
                    start_new_session=True,
                )
        except OSError as exc:
            raise Failure(f"{command[0]}: {exc.strerror}") from exc
        self.pid = self._process.pid

    def require_alive(self) -> None:
        """Raises `Failure` when the process has ended."""
        if (code := self._process.poll()) is not None:
            raise Failure(f"ended with {code}: {last_lines(self._log)}")

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return last_lines(self._log)

    def stop(self) -> None:
        """SIGTERM to the process, which ends its own; SIGKILL to what is left of the group."""
        members = tree(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in members:  # those that left the group
            if pid != self.pid and _parent(pid) in (self.pid, 1):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def everything_ended() -> Iterator[ExitStack]:
    """A stack of what has to be ended, which nothing interrupts: a second Ctrl-C must not leave processes behind."""
    handlers: dict[int, Any] = {}
    try:
        with ExitStack() as running:
            try:
                yield running
            finally:
                handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def last_lines(log: Path) -> str:
    """The end of a log file, indented."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"the end of {log}:", *(f"    {line}" for line in lines[-LOG_LINES:])])


def tree(root: int) -> list[int]:
    """`root` and all that descends from it, as far as it lives."""
    found = [root]
    for pid in found:
        found += _children(pid)
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]


def group_of(pid: int) -> str:
    """Whose work a process of a system does. What is neither Nginx nor the model server counts as the gateway.

    So supervisord does, which copies the workers' logs: it is part of the price.
    """
    if _read(pid, "comm").strip() == "nginx":
        return NGINX
    return MODEL_SERVER if "wsgiapp.modelserver" in command_line(pid) else GATEWAY


def command_line(pid: int) -> str:
    """A process's arguments, with spaces between them."""
    return _read(pid, "cmdline").replace("\0", " ").strip()


@dataclass(frozen=True)
class Memory:
    """Bytes. `pss` shares out pages that several processes use; `max_rss` counts them whole, for one process."""

    pss: int
    max_rss: int
    max_pss: int


def memory(pids: Iterable[int]) -> Memory:
    """The memory of several processes."""
    pss, rss = [0], [0]
    for pid in pids:
        rollup = _read(pid, "smaps_rollup")
        pss.append(_kilobytes(rollup, "Pss"))
        rss.append(_kilobytes(rollup, "Rss"))
    return Memory(sum(pss), max(rss), max(pss))


def wait_for(seconds: float, every: float = 0.1) -> Iterator[float]:
    """Yield the time left until `seconds` have passed, at the pace of a poll."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        yield left
        time.sleep(every)


def _children(pid: int) -> list[int]:
    children = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            children += [int(child) for child in (task / "children").read_text().split()]
    return children


def _parent(pid: int) -> int:
    match = re.search(r"^PPid:\s*(\d+)", _read(pid, "status"), re.MULTILINE)
    return int(match[1]) if match else 0


def _kilobytes(rollup: str, name: str) -> int:
    match = re.search(rf"^{name}:\s*(\d+) kB", rollup, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
