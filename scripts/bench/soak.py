"""Very many requests through the stack: no error, no hang, no memory that grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.loadprocess import LoadProcess
from bench.outcome import Load, Outcome
from bench.processes import GATEWAY, MODEL_SERVER, command_line, everything_ended, group_of, memory
from bench.progress import Progress
from bench.subjects import all_cases
from bench.systems import Stack, wait_until_right

CONNECTIONS = 32
SLICE_SECONDS = 5.0
SECONDS_A_TEXT = 0.002  # for the progress bar, until it knows better
TIMEOUT_SECONDS = 10.0
# Memory is compared from here on: before, caches fill, and TensorFlow prepares a run for each new shape.
SETTLED = 0.10
ALLOWED_GROWTH = 0.05
MEBIBYTE = 2**20


@dataclass
class Verdict:
    """What the soak found; `problems` is empty when all is well."""

    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    sample: str = ""
    before: dict[int, int] = field(default_factory=dict)  # bytes by process id, after the first tenth
    after: dict[int, int] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """A line for each thing that must not be."""
        found = [f"{count} requests: {kind}" for kind, count in self.errors.items()]
        found += [self.sample] if self.sample else []
        if set(self.before) != set(self.after):
            found.append(f"processes changed: {sorted(self.before)} became {sorted(self.after)}")
        for pid in sorted(set(self.before) & set(self.after)):
            growth = self.after[pid] / self.before[pid] - 1
            if growth > ALLOWED_GROWTH:
                found.append(f"process {pid} grew by {growth:.1%}; {ALLOWED_GROWTH:.0%} is allowed")
        return found


def soak(requests: int, home: Path, models: Path) -> int:
    """Run it and print what was found; the exit status."""
    stack = Stack(home / "soak", models)
    progress = Progress(requests, SECONDS_A_TEXT)
    with everything_ended() as running:
        progress.show("starting wsgiapp")
        running.callback(stack.stop)
        stack.start()
        cases = all_cases(stack, [])
        wait_until_right(stack, cases["text"][0])
        generator = running.enter_context(LoadProcess(cases))
        load = Load(
            stack.host, stack.port, CONNECTIONS, SLICE_SECONDS, warm_up_seconds=0.0, timeout_seconds=TIMEOUT_SECONDS
        )
        verdict = run_slices(
            lambda: generator.run(load, "text"), lambda: worker_and_server_memory(stack), requests, progress
        )
        names = {pid: _name(pid) for pid in verdict.after}
    progress.clear()
    for pid, held in verdict.after.items():
        before = verdict.before.get(pid, held)
        print(f"{names[pid]} {pid}: {before / MEBIBYTE:.1f} MB after a tenth, {held / MEBIBYTE:.1f} MB at the end")
    problems = verdict.problems()
    print(f"{verdict.requests:,} texts answered correctly, {verdict.errors.total()} errors")
    print("\n".join(f"FAILED: {problem}" for problem in problems) or "no error, no hang, no memory that grows")
    return 1 if problems else 0


def run_slices(
    send: Callable[[], Outcome], held: Callable[[], dict[int, int]], requests: int, progress: Progress
) -> Verdict:
    """Send slices until so many requests are answered, or one of them brings nothing: that is a hang."""
    verdict = Verdict()
    while verdict.requests < requests:
        progress.show(f"{verdict.requests:,} of {requests:,} texts, {verdict.errors.total()} errors")
        outcome = send()
        verdict.requests += outcome.right
        verdict.errors += outcome.errors
        verdict.sample = verdict.sample or outcome.sample
        progress.spend(outcome.right)
        if not outcome.right:
            verdict.errors["no answer in a whole slice"] += 1
            break
        if not verdict.before and verdict.requests >= SETTLED * requests:
            verdict.before = held()
    verdict.after = held()
    return verdict


def worker_and_server_memory(stack: Stack) -> dict[int, int]:
    """Resident bytes of each worker and of the model server."""
    watched = [
        pid
        for pid in stack.pids()
        if group_of(pid) == MODEL_SERVER or (group_of(pid) == GATEWAY and "wsgiapp.worker" in command_line(pid))
    ]
    return {pid: memory([pid]).max_rss for pid in watched}


def _name(pid: int) -> str:
    return "model server" if group_of(pid) == MODEL_SERVER else "worker"
