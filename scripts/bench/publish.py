"""The results in the documentation: plots and tables in docs/bench, a section in each language's page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.goals import MEBIBYTE, cell, goals
from bench.processes import GATEWAY
from bench.report import closed_table, goals_table, machine_line, memory_table, sweep_table
from bench.tables import Row, markdown, number

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
LOAD = "32"
Results = Mapping[str, Any]
WORDS = {
    "en": {
        "measured": "Measured in one run, all processes and the load generator on the one machine:",
        "head": (
            "text, 32 connections",
            "right answers/s",
            "p50 ms",
            "p99 ms",
            "errors",
            "gateway CPU, us",
            "memory, MB",
        ),
        "goals": ("figure", "to reach", "this run", ""),
        "said": {True: "reached", False: "**missed**", None: "not measured"},
        "plots": {"throughput": "Throughput", "latency": "Tail latency", "cost": "CPU a request"},
        "more": "All tables: [bench]({bench}/README.md). To repeat them: `make bench`.",
        "memory": "Memory is the gateway's (PSS, all its processes), without Nginx and the model server.",
    },
    "zh": {
        "measured": "同一次运行中测得，所有进程和负载生成器都在同一台机器上：",
        "head": ("文本，32 个连接", "正确应答/秒", "p50 毫秒", "p99 毫秒", "错误", "网关 CPU（微秒）", "内存（MB）"),
        "goals": ("指标", "目标", "本次", ""),
        "said": {True: "达到", False: "**未达到**", None: "未测"},
        "plots": {"throughput": "吞吐量", "latency": "尾延迟", "cost": "每个请求的 CPU"},
        "more": "全部表格：[bench]({bench}/README.md)。重新测量：`make bench`。",
        "memory": "内存指网关的全部进程（PSS），不含 Nginx 和模型服务器。",
    },
}
# Each language's page, and where docs/bench is from there.
PAGES = {"en": ("docs/benchmark.md", "bench"), "zh": ("docs/zh/benchmark.md", "../bench")}


class NoSection(Exception):
    """A page has no markers, or not exactly one pair in order."""


def publish(results: Results, repository: Path) -> list[Path]:
    """Write docs/bench and the pages' sections; the files. Raises `NoSection` before anything is written."""
    pages = {
        repository / name: replace_section((repository / name).read_text(encoding="utf-8"), section(results, language))
        for language, (name, _) in PAGES.items()
    }
    from bench.plots import write_plots  # Matplotlib, which only this function needs

    folder = repository / "docs/bench"
    written = write_plots(results, folder)
    texts = {
        folder / "results.json": json.dumps(without_rounds(results), indent=1, ensure_ascii=False) + "\n",
        folder / "README.md": page(results),
        **pages,
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return [*written, *texts]


def replace_section(text: str, content: str) -> str:
    """`text` with `content` between its markers. Raises `NoSection`."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before or END in after:
        raise NoSection(f"{BEGIN} and {END} must stand in it once, in this order")
    return f"{before}{BEGIN}\n{content.strip()}\n{END}{after}"


def section(results: Results, language: str) -> str:
    """What a page says, in English ("en") or Chinese ("zh")."""
    words: dict[str, Any] = WORDS[language]
    bench = PAGES[language][1]
    plots = [f"![{title}]({bench}/{name}.svg)" for name, title in words["plots"].items()]
    rows = [row for name in results["systems"] if (row := _row(results, name))]
    reached = [
        (
            goal.name if language == "en" else goal.name_zh,
            f"{'≥' if goal.at_least else '≤'} {goal.limit:g}{goal.unit}",
            "-" if goal.value is None else f"{number(goal.value, goal.digits)}{goal.unit}",
            words["said"][goal.reached],
        )
        for goal in goals(results)
    ]
    parts = [
        f"{words['measured']} {machine_line(results)}.",
        markdown(words["head"], rows),
        words["memory"],
        "\n".join(plots),
        markdown(words["goals"], reached),
        words["more"].format(bench=bench),
    ]
    return "\n\n".join(parts)


def page(results: Results) -> str:
    """docs/bench/README.md: every table."""
    tables = (
        closed_table(results, "text"),
        sweep_table(results),
        closed_table(results, "image"),
        memory_table(results),
        goals_table(results),
    )
    parts = ["# Benchmark", ABOUT, f"{machine_line(results)}."]
    parts += [f"## {table.title}\n\n{markdown(table.head, table.rows)}" for table in tables if table.rows]
    if bare := results["bare_image_us"]:
        parts.append(f"The image steps alone, without a server: {number(bare[len(bare) // 2])} us of CPU a picture.")
    parts += ["![Throughput](throughput.svg)", "![Tail latency](latency.svg)", "![CPU a request](cost.svg)"]
    return "\n\n".join(parts) + "\n"


def without_rounds(results: Results) -> dict[str, Any]:
    """The medians alone."""
    cells = [{key: value for key, value in each.items() if key != "rounds"} for each in results["cells"]]
    return {**results, "cells": cells}


ABOUT = """\
`make bench` wrote this page. Every system gets the same requests: the held-out sentences of the demo corpus as POST of
JSON, photographs of a megapixel as POST of the file. Each stands behind its own Nginx with this service's
configuration, the peers' without its limit on predictions; none writes an access log, and all call the same model
server. LitServe runs the model itself, in its own processes, so its gateway CPU holds the model's. Every answer is
compared with what the model says to that sentence or picture alone; only right answers count. Systems are measured in
turn, round by round; the figures are medians over the rounds. CPU is that of the systems' processes over the
measurement, for each right answer; the gateway's includes supervisord. In the open loop requests are due at fixed
times, and latency counts from then; goodput is the right answers that came within a second."""


def _row(results: Results, name: str) -> Row | None:
    found = cell(results, "text", name, LOAD)
    if found is None:
        return None
    held = results["systems"][name]["memory"].get("workers") or results["systems"][name]["memory"].get(GATEWAY)
    return (
        results["systems"][name]["title"],
        number(found["throughput"]),
        number(found["p50_ms"], 1),
        number(found["p99_ms"], 1),
        number(sum(found["errors"].values())),
        number(found["cpu_us"].get(GATEWAY)),
        number(held["pss"] / MEBIBYTE) if held else "-",
    )
