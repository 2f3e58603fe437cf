"""What is printed at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.processes import GATEWAY, MODEL_SERVER, NGINX
from bench.tables import aligned, number

MEBIBYTE = 2**20


def terminal_report(results: Mapping[str, Any]) -> str:
    """All tables."""
    machine = results["machine"]
    parts = [
        f"{machine['cores']} cores, {machine['cpu']}, Python {machine['python']}, {machine['when']}",
        load_table(results),
        memory_table(results),
    ]
    parts += [f"{name} was not measured: {why}" for name, why in results["failures"].items()]
    return "\n\n".join(parts)


def load_table(results: Mapping[str, Any]) -> str:
    """Throughput, latency, errors and CPU of each system under each load."""
    head = ["connections, system", "req/s", "p50 ms", "p95 ms", "p99 ms", "errors"]
    head += ["gateway us", "nginx us", "model us", "load us", "workers' shares"]
    rows = []
    for cell in sorted(results["cells"], key=lambda cell: (len(cell["load"]), cell["load"])):
        cpu = cell["cpu_us"]
        title = results["systems"][cell["system"]]["title"]
        errors = ", ".join(f"{count} {kind}" for kind, count in cell["errors"].items()) or "0"
        rows.append(
            (
                f"{cell['load']:>4}  {title}",
                number(cell["throughput"]),
                *(number(cell[name], 1) for name in ("p50_ms", "p95_ms", "p99_ms")),
                errors,
                *(number(cpu.get(group, 0.0)) for group in (GATEWAY, NGINX, MODEL_SERVER)),
                number(cell["generator_us"]),
                " ".join(f"{share:.0%}" for share in cell["worker_shares"]),
            )
        )
    return aligned(head, rows)


def memory_table(results: Mapping[str, Any]) -> str:
    """What the processes of each system hold after the loads."""
    head = ("memory after the loads", "PSS MB", "largest PSS", "largest RSS", "started in s")
    rows = []
    for each in results["systems"].values():
        held = each["memory"].get("workers") or each["memory"].get(GATEWAY)
        figures = [number(held[name] / MEBIBYTE) for name in ("pss", "largest_pss", "largest_rss")] if held else []
        rows.append((each["title"], *(figures or ["-"] * 3), number(each["start_seconds"], 1)))
    return aligned(head, rows)
