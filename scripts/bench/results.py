"""From outcomes to figures: what is written to the JSON file, and all that is reported comes from there."""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.outcome import Outcome, percentile
from bench.processes import GATEWAY, command_line, group_of, memory

FIGURES = ("rate", "throughput", "goodput", "p50_ms", "p95_ms", "p99_ms", "generator_us")


def sample(outcome: Outcome, rate: float = 0.0) -> dict[str, Any]:
    """The figures of one round; `rate` is what an open loop offered, requests a second.

    CPU is in microseconds for each right answer, by process group.
    """
    right = max(outcome.right, 1)
    groups: defaultdict[str, float] = defaultdict(float)
    for pid, seconds in outcome.cpu.items():
        groups[group_of(pid)] += seconds
    workers = {pid: used for pid, used in outcome.cpu.items() if "wsgiapp.worker" in command_line(pid)}
    total = sum(workers.values())
    return {
        "rate": rate,
        "throughput": outcome.throughput,
        "goodput": outcome.goodput,
        "p50_ms": 1000 * percentile(outcome.latencies, 0.50),
        "p95_ms": 1000 * percentile(outcome.latencies, 0.95),
        "p99_ms": 1000 * percentile(outcome.latencies, 0.99),
        "right": outcome.right,
        "errors": dict(outcome.errors),
        "first_error": outcome.sample,
        "cpu_us": {group: 1e6 * used / right for group, used in groups.items()},
        "generator_us": 1e6 * outcome.generator_cpu / right,
        "worker_shares": [used / total for used in workers.values()] if total else [],
    }


def middle(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the rounds, the mean of each worker's share, and all errors together."""
    groups = {group for each in rounds for group in each["cpu_us"]}
    errors: defaultdict[str, int] = defaultdict(int)
    for each in rounds:
        for kind, count in each["errors"].items():
            errors[kind] += count
    return {
        **{name: median(each[name] for each in rounds) for name in FIGURES},
        "right": sum(each["right"] for each in rounds),
        "errors": dict(errors),
        "first_error": next((each["first_error"] for each in rounds if each["first_error"]), ""),
        "cpu_us": {group: median(each["cpu_us"].get(group, 0.0) for each in rounds) for group in sorted(groups)},
        "worker_shares": [mean(shares) for shares in zip(*(each["worker_shares"] for each in rounds), strict=False)],
    }


def memory_by_group(pids: Sequence[int]) -> dict[str, dict[str, int]]:
    """Bytes by process group; of our own workers also by themselves, without supervisord."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for pid in pids:
        groups[group_of(pid)].append(pid)
        if group_of(pid) == GATEWAY and "wsgiapp.worker" in command_line(pid):
            groups["workers"].append(pid)
    return {group: asdict(memory(members)) for group, members in groups.items()}


def without_nan(value: Any) -> Any:
    """The same, with `None` where a number is not one: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def machine() -> dict[str, Any]:
    """What it was measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": model or platform.machine(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
