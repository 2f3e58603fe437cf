"""Processes with a log, free ports, polling."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

SUPPORT = Path(__file__).resolve().parent
REPOSITORY = SUPPORT.parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def free_port() -> int:
    """A TCP port that nobody listens on; drawn, so that two runs at once do not get the same.

    Not one of those that the kernel gives to clients (32768 and above): it could be taken until it is used.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def poll(done: Callable[[], Any], seconds: float = 60.0, what: str = "the condition") -> Any:
    """The first true value of `done`; fails the test when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := done():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds:.0f} s")


class Process:
    """A child process with its output in a file. Ended, by force if need be, when the `with` block is left."""

    def __init__(self, arguments: list[str], log: Path, **variables: str) -> None:
        self.log = log
        # The settings of the shell that runs the tests must not reach the processes under test.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                arguments, env={**inherited, **variables}, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        self.pid = self._child.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        return self._child.wait(seconds)

    def wait_until(self, done: Callable[[], Any], seconds: float = 90.0) -> Any:
        """The first true value of `done`; fails with the log's end when it does not come, or the process ends."""

        def check() -> Any:
            assert self.returncode is None, f"ended with {self.returncode}:\n{self.output[-4000:]}"
            return done()

        try:
            return poll(check, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.output[-4000:]}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.returncode is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self.wait(30)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self.wait()


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this project."""
    return [sys.executable, "-m", name, *arguments]
