"""The faults again and again for a long time: promises kept, and no memory that grows."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.processes import GATEWAY, MODEL_SERVER
from bench.progress import Progress
from bench.results import memory_by_group
from chaos.faults import FAULTS
from chaos.session import Result, make_fault, running_target

ALLOWED_GROWTH = 0.10
MEBIBYTE = 2**20
WATCHED = (GATEWAY, MODEL_SERVER)
# The part of all samples that the beginning and the end are.
SHARE = 4


@dataclass
class Verdict:
    """`memory`: bytes (PSS) of each group of processes, a sample after each fault."""

    results: list[Result] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in WATCHED})

    def problems(self) -> list[str]:
        """A line for each thing that must not be."""
        found = [
            f"{result.fault.name}: {dict(result.seen.errors)}, the first: {result.seen.sample}"
            for result in self.results
            if result.seen is not None and result.is_kept is False
        ]
        for name, samples in self.memory.items():
            before, after = middles(samples)
            if after > before * (1 + ALLOWED_GROWTH):
                found.append(f"{name} grew from {before / MEBIBYTE:.0f} to {after / MEBIBYTE:.0f} MB")
        return found


def middles(samples: list[int]) -> tuple[float, float]:
    """The medians of the first and of the last quarter."""
    part = max(1, len(samples) // SHARE)
    return median(samples[:part]), median(samples[-part:])


def soak(minutes: float, home: Path, models: Path, rate: float) -> int:
    """Run it and print what was found; the exit status."""
    verdict = Verdict()
    progress = Progress(60 * minutes)
    faults = [fault for fault in FAULTS if fault.limit is not None]
    order = random.Random(1)
    with running_target(home / "soak", models, rate) as (target, observer):
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            fault = order.choice(faults)
            progress.show(fault.name)
            started = time.monotonic()
            verdict.results.append(make_fault(fault, target, observer))
            for name, held in memory_by_group(target.pids()).items():
                if name in WATCHED:
                    verdict.memory[name].append(held["pss"])
            progress.spend(time.monotonic() - started)
    progress.clear()
    return _report(verdict)


def _report(verdict: Verdict) -> int:
    seen = [result.seen for result in verdict.results if result.seen is not None]
    errors = sum((each.errors for each in seen), Counter[str]())
    print(f"{len(seen)} faults, {sum(each.requests for each in seen):,} texts, {errors.total()} failed: {dict(errors)}")
    for name, samples in verdict.memory.items():
        before, after = middles(samples)
        print(f"{name}: {before / MEBIBYTE:.0f} MB in the first quarter, {after / MEBIBYTE:.0f} MB in the last one")
    problems = verdict.problems()
    print("\n".join(f"FAILED: {problem}" for problem in problems) or "every promise kept, no memory that grows")
    return 1 if problems else 0
