"""The results as tables: what is printed at the end, and what stands in the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.goals import MEBIBYTE, goals
from bench.processes import GATEWAY, MODEL_SERVER, NGINX
from bench.tables import Row, aligned, number

Results = Mapping[str, Any]
LATENCIES = ("p50_ms", "p95_ms", "p99_ms")
GROUPS = (GATEWAY, NGINX, MODEL_SERVER)


@dataclass(frozen=True)
class Table:
    """A heading, the columns' names, the rows."""

    title: str
    head: Row
    rows: Sequence[Row]


def terminal_report(results: Results) -> str:
    """All tables, with what could not be measured and why."""
    parts = [machine_line(results)]
    for table in (closed_table(results, "text"), sweep_table(results), closed_table(results, "image")):
        if table.rows:
            parts.append(f"{table.title}\n{aligned(table.head, table.rows)}")
    if bare := results["bare_image_us"]:
        parts.append(f"image steps alone, without a server: {number(bare[len(bare) // 2])} us of CPU a picture")
    for table in (memory_table(results), goals_table(results)):
        parts.append(f"{table.title}\n{aligned(table.head, table.rows)}")
    samples = {each["system"]: each["first_error"] for each in results["cells"] if each["first_error"]}
    parts += [f"{name}, the first error: {sample}" for name, sample in samples.items()]
    parts += [f"NOT MEASURED: {name}: {why}" for name, why in results["failures"].items()]
    return "\n\n".join(parts)


def machine_line(results: Results) -> str:
    """What it was measured on, and when."""
    machine = results["machine"]
    memory = machine["memory_bytes"] / 2**30
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {memory:.0f} GB, {machine['system']}, "
        f"Python {machine['python']}, {machine['when']}"
    )


def closed_table(results: Results, kind: str) -> Table:
    """Throughput, latency, errors and CPU a request of each system, connections by connections."""
    head = ["connections, system", "req/s", "p50 ms", "p95 ms", "p99 ms", "errors"]
    head += ["gateway us", "nginx us", "model us", "load us", "workers' shares"]
    cells = [each for each in results["cells"] if each["kind"] == kind and not each["load"].endswith("x")]
    rows = []
    for each in sorted(cells, key=lambda each: (each["load"].endswith("c"), int(each["load"].removesuffix("c")))):
        rows.append(
            (
                f"{each['load']:>4}  {_title(results, each)}",
                number(each["throughput"], 0 if kind == "text" else 1),
                *(number(each[name], 1) for name in LATENCIES),
                _errors(each),
                *(number(each["cpu_us"].get(group, 0.0)) for group in GROUPS),
                number(each["generator_us"]),
                " ".join(f"{share:.0%}" for share in each["worker_shares"]) or "-",
            )
        )
    return Table(f"{kind}: closed loop (c: a new connection for each request); CPU a request", head, rows)


def sweep_table(results: Results) -> Table:
    """The open loop: what was offered, and what of it was answered correctly within a second."""
    head = ("system, offered", "req/s offered", "goodput", "p50 ms", "p99 ms", "errors")
    cells = [each for each in results["cells"] if each["load"].endswith("x")]
    order = list(results["systems"])
    rows = [
        (
            f"{each['load']:>5}  {_title(results, each)}",
            number(each["rate"]),
            number(each["goodput"]),
            number(each["p50_ms"], 1),
            number(each["p99_ms"], 1),
            _errors(each),
        )
        for each in sorted(cells, key=lambda each: (order.index(each["system"]), each["rate"]))
    ]
    return Table("text: open loop, shares of each system's own saturation; latency from the intended time", head, rows)


def memory_table(results: Results) -> Table:
    """What the processes of each system hold after the loads, without Nginx and the model server."""
    rows = []
    for each in results["systems"].values():
        if held := each["memory"].get("workers") or each["memory"].get(GATEWAY):
            rows.append((each["title"], *(number(held[name] / MEBIBYTE) for name in ("pss", "max_pss", "max_rss"))))
    return Table("memory after the loads, MB", ("system", "PSS", "largest PSS", "largest RSS"), rows)


def goals_table(results: Results) -> Table:
    """The figures to reach, with this run's."""
    said = {True: "reached", False: "MISSED", None: "not measured"}
    rows = []
    for goal in goals(results):
        limit = f"{'>=' if goal.at_least else '<='} {goal.limit:g}{goal.unit}"
        value = "-" if goal.value is None else f"{number(goal.value, goal.digits)}{goal.unit}"
        rows.append((goal.name, limit, value, said[goal.reached]))
    return Table("figures to reach", ("figure", "to reach", "this run", ""), rows)


def _title(results: Results, each: Mapping[str, Any]) -> str:
    title: str = results["systems"][each["system"]]["title"]
    return title


def _errors(each: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in each["errors"].items()) or "0"
