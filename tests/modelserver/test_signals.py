"""SIGTERM and SIGINT at each time of a process's life."""

import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.processes import Process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    """A process that handles the signals, runs some code and then waits."""
    started: list[Process] = []

    def make(code: str) -> Process:
        lines = f"""
            import threading, time
            from wsgiapp.modelserver.signals import StopSignals
            signals = StopSignals()
            {code}
            print("up", flush=True)
            time.sleep(60)
        """
        started.append(Process([sys.executable, "-c", textwrap.dedent(lines)], tmp_path / "log"))
        started[-1].wait_until(lambda: "up" in started[-1].output)
        return started[-1]

    yield make
    for process in started:
        process.send(signal.SIGKILL)
        process.wait()


WAIT = 'threading.Thread(target=lambda: (signals.stop.wait(), print("stopping", flush=True))).start()'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_before_there_is_anything_to_drain_it_ends_at_once(
    start: Callable[[str], Process], number: signal.Signals
) -> None:
    process = start("")
    process.send(number)
    assert process.wait(10) == 0


def test_the_first_one_drains_and_the_second_one_ends(start: Callable[[str], Process]) -> None:
    process = start(f"signals.drain_first(); {WAIT}")
    process.send(signal.SIGTERM)
    process.wait_until(lambda: "stopping" in process.output)
    assert process.returncode is None
    process.send(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGINT
