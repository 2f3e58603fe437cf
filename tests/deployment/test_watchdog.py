"""The watchdog's process, beside processes that hang; this one is their parent, as supervisord is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import SUPPORT, Process, free_port, poll, python_module

EVENT = b"ver:3.0 server:supervisor serial:1 pool:watchdog poolserial:1 eventname:PROCESS_STATE_EXITED len:4\nabcd"


class Watched:
    """A home folder, its watchdog, and processes for it to watch."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "run").mkdir()
        (home / "run/supervisord.pid").write_text(str(os.getpid()))
        self.log = home / "watchdog.log"
        variables = {
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_APP_WORKERS": "2",
            "WSGIAPP_APP_WATCHDOG_SECONDS": "1",
            "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{free_port()}",  # nobody is there
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                python_module("wsgiapp.cli", "watchdog"),
                env={**inherited, **variables},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def worker(self, name: str) -> Process:
        arguments = [sys.executable, str(SUPPORT / "blocked_worker.py"), str(self.home), name]
        made = Process(arguments, self.home / f"{name}.log", PYTHONPATH=str(SUPPORT.parent.parent))
        ready = self.home / f"run/{name}.ready"
        made.wait_until(lambda: ready.exists() and ready.read_text() == str(made.pid))
        return made


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    made = Watched(tmp_path_factory.mktemp("watched"))
    try:
        poll(lambda: (made.home / "run/watchdog.sock").exists())
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def test_it_answers_supervisord_s_events(watched: Watched) -> None:
    assert watched.process.stdin and watched.process.stdout
    assert watched.process.stdout.readline() == b"READY\n"
    watched.process.stdin.write(EVENT)
    watched.process.stdin.flush()
    assert watched.process.stdout.read(11) == b"RESULT 2\nOK"
    assert watched.process.stdout.readline() == b"READY\n"


def test_who_hangs_is_replaced_with_its_stacks_in_the_log(watched: Watched) -> None:
    with watched.worker("app_00") as blocked, watched.worker("app_01") as other:
        blocked.send(signal.SIGUSR2)
        assert blocked.wait(30) == -signal.SIGKILL
        assert "in block_the_loop" in blocked.output
        assert f"app_00, pid {blocked.pid}, was sent SIGKILL" in watched.log.read_text()
        other.send(signal.SIGSTOP)  # the last one: it does not wait for app_00
        assert other.wait(30) == -signal.SIGKILL
        assert "state T, waits in" in watched.log.read_text(), "what a process that is stopped cannot say itself"


def test_who_drains_is_left_alone_and_so_are_all_while_supervisord_is_stopped(watched: Watched) -> None:
    number = watched.home / "run/supervisord.pid"
    with watched.worker("app_00") as draining, watched.worker("app_01") as orphan:
        (watched.home / "run/app_00.ready").unlink()
        draining.send(signal.SIGSTOP)
        with Process(["sleep", "600"], watched.home / "sleep.log") as stopped:
            stopped.send(signal.SIGSTOP)
            number.write_text(str(stopped.pid))
            orphan.send(signal.SIGSTOP)
            time.sleep(1.0)  # twice as long as it takes
            assert draining.returncode is None and orphan.returncode is None
            number.write_text(str(os.getpid()))
            assert orphan.wait(30) == -signal.SIGKILL
            assert draining.returncode is None


def test_it_ends_with_supervisord(watched: Watched) -> None:
    """A new supervisord has one of its own."""
    assert watched.process.stdin
    watched.process.stdin.close()
    assert watched.process.wait(30) == 0
