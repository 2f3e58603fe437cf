"""The command line: send them all, one by one and six at a time, and say what each did to the worker."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from attack import requests
from attack.request import MEBIBYTE, HeavyRequest
from attack.target import Target, Turn

AT_ONCE = 6
BODY_BYTES = 16 * MEBIBYTE
MAX_TURN_SECONDS = 0.05
MAX_WORKER_BYTES = 400 * MEBIBYTE
# The turn that sent an answer ends after it.
SETTLE_SECONDS = 0.05
OVERLOADED = 503


@dataclass
class Finding:
    """What a request, sent so many times at once, did."""

    name: str
    times: int
    statuses: list[int]
    turn: Turn
    worker_bytes: int
    server_bytes: int
    seconds: float
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        statuses = ",".join(f"{status}" for status in sorted(set(self.statuses)))
        name = f"{self.times} x {self.name}" if self.times > 1 else self.name
        return (
            f"{name:<44} {statuses:<9} {self.turn.wall * 1000:6.1f} ms ({self.turn.cpu * 1000:6.1f} CPU) "
            f"{self.worker_bytes / MEBIBYTE:6.0f} MB {self.server_bytes / MEBIBYTE:6.0f} MB {self.seconds:6.2f} s"
            + "".join(f"  FAILED: {problem}" for problem in self.problems)
        )


def all_requests() -> list[HeavyRequest]:
    """Those of all modules in `requests/`."""
    modules = sorted(module.name for module in pkgutil.iter_modules(requests.__path__))
    return [each for name in modules for each in importlib.import_module(f"attack.requests.{name}").REQUESTS]


def attack(
    target: Target, request: HeavyRequest, times: int, size: int, seconds_of: Callable[[Turn], float]
) -> Finding:
    """Send a request so many times at once."""
    body = None if request.body is None else request.body(size)
    target.take_peak(target.worker)
    target.take_peak(target.model_server)
    target.longest_turn()
    started = time.monotonic()
    with ThreadPoolExecutor(times) as threads:
        statuses = list(threads.map(lambda _: target.send(request, body), range(times)))
    seconds = time.monotonic() - started
    time.sleep(SETTLE_SECONDS)
    turn = target.longest_turn()
    found = Finding(
        request.name,
        times,
        statuses,
        turn,
        target.take_peak(target.worker),
        target.take_peak(target.model_server),
        seconds,
    )
    if wrong := set(statuses) - request.statuses - ({OVERLOADED} if times > 1 else set()):
        found.problems.append(f"the status {sorted(wrong)}, not {sorted(request.statuses)}")
    if seconds_of(turn) > MAX_TURN_SECONDS:
        found.problems.append(f"a turn of more than {MAX_TURN_SECONDS * 1000:.0f} ms")
    if found.worker_bytes > MAX_WORKER_BYTES:
        found.problems.append(f"more than {MAX_WORKER_BYTES // MEBIBYTE} MB")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 where a limit was passed."""
    parser = argparse.ArgumentParser(prog="python scripts/attack", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="requests whose names have this in them")
    parser.add_argument("--cpu", action="store_true", help="judge turns by processor time: for a machine that is busy")
    options = parser.parse_args(argv)
    home = Path(os.environ.get("WSGIAPP_HOME", "var"))
    chosen = [request for request in all_requests() if options.only in request.name]
    failed = 0
    print(f"{'request':<44} {'status':<9} {'longest turn':<22} {'worker':>9} {'models':>9} {'time':>8}", flush=True)
    with Target(home / "attack", home / "models", {}) as target:
        for request in chosen:
            for times in (1, AT_ONCE):
                found = attack(target, request, times, BODY_BYTES, lambda turn: turn.cpu if options.cpu else turn.wall)
                failed += bool(found.problems)
                print(found.line(), flush=True)
    print(
        f"{2 * len(chosen)} attacks, {failed} of them over the limits" if failed else f"{2 * len(chosen)} attacks held"
    )
    return 1 if failed else 0
