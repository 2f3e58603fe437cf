"""The command line: send them all, one by one and six at a time, and say what each did to the worker."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from attack import requests
from attack.request import MEBIBYTE, HeavyRequest
from attack.target import ModelServer, Turn, Worker, take_peak
from bench.processes import everything_ended

AT_ONCE = 6
BODY_BYTES = 16 * MEBIBYTE
MAX_TURN_SECONDS = 0.05
MAX_WORKER_BYTES = 400 * MEBIBYTE
# The turn that sent an answer ends after it, and before the next one is answered.
NEXT = HeavyRequest("", frozenset({200}), "/healthz")
OVERLOADED = 503


HEADINGS = f"{'request':<44} {'status':<9} {'longest turn':<28} {'worker':>6} {'time':>9}"


@dataclass(frozen=True)
class Finding:
    """What a request, sent so many times at once, did."""

    name: str
    times: int
    statuses: list[int]
    turn: Turn
    worker_bytes: int
    seconds: float

    def line(self) -> str:
        """A line of the table."""
        statuses = ",".join(f"{status}" for status in sorted(set(self.statuses)))
        name = f"{self.times} x {self.name}" if self.times > 1 else self.name
        return (
            f"{name:<44} {statuses:<9} {self.turn.wall * 1000:6.1f} ms ({self.turn.cpu * 1000:6.1f} of CPU) "
            f"{self.worker_bytes / MEBIBYTE:6.0f} MB {self.seconds:6.2f} s"
        )


def all_requests() -> list[HeavyRequest]:
    """Those of all modules in `requests/`."""
    modules = sorted(module.name for module in pkgutil.iter_modules(requests.__path__))
    return [each for name in modules for each in importlib.import_module(f"attack.requests.{name}").REQUESTS]


def attack(worker: Worker, request: HeavyRequest, times: int, size: int) -> Finding:
    """Send a request so many times at once, with bodies of `size` bytes."""
    body = None if request.body is None else request.body(size)
    take_peak(worker.pid)
    worker.max_turn()
    started = time.monotonic()
    with ThreadPoolExecutor(times) as threads:
        statuses = list(threads.map(lambda _: worker.send(request, body), range(times)))
    seconds = time.monotonic() - started
    worker.send(NEXT, None)
    return Finding(request.name, times, statuses, worker.max_turn(), take_peak(worker.pid), seconds)


def problems(found: Finding, statuses: frozenset[int], *, by_cpu: bool) -> list[str]:
    """What must not be."""
    wrong = set(found.statuses) - statuses - ({OVERLOADED} if found.times > 1 else set())
    turn = found.turn.cpu if by_cpu else found.turn.wall
    said = {
        f"the status {sorted(wrong)}, not {sorted(statuses)}": bool(wrong),
        f"a turn of more than {MAX_TURN_SECONDS * 1000:.0f} ms": turn > MAX_TURN_SECONDS,
        f"more than {MAX_WORKER_BYTES // MEBIBYTE} MB": found.worker_bytes > MAX_WORKER_BYTES,
    }
    return [problem for problem, is_true in said.items() if is_true]


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 where a limit was passed."""
    parser = argparse.ArgumentParser(prog="python scripts/attack", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="requests whose names have this in them")
    parser.add_argument("--cpu", action="store_true", help="judge turns by processor time: for a machine that is busy")
    options = parser.parse_args(argv)
    home = Path(os.environ.get("WSGIAPP_HOME", "var"))
    chosen = [request for request in all_requests() if options.only in request.name]
    failed = 0
    with everything_ended() as running:
        server = ModelServer(home / "attack", home / "models")
        running.callback(server.stop)
        worker = Worker(home / "attack", server.address)
        running.callback(worker.stop)
        worker.wait_for("/readyz")
        print(HEADINGS, flush=True)
        for request in chosen:
            for times in (1, AT_ONCE):
                found = attack(worker, request, times, BODY_BYTES)
                wrong = problems(found, request.statuses, by_cpu=options.cpu)
                failed += bool(wrong)
                print(found.line(), *(f"FAILED: {problem}" for problem in wrong), flush=True)
        print(f"the model server has held {take_peak(server.pid) / MEBIBYTE:.0f} MB")
    print(
        f"{2 * len(chosen)} attacks, {failed} of them over the limits" if failed else f"{2 * len(chosen)} attacks held"
    )
    return 1 if failed else 0
