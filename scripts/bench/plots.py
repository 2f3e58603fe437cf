"""Three plots: throughput by connections, tail latency by offered load, and what a request costs by process group."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from bench.goals import OURS, cell
from bench.outcome import USEFUL_SECONDS
from bench.processes import GATEWAY, MODEL_SERVER, NGINX

Results = Mapping[str, Any]
# Okabe and Ito's colours, which colour-blind readers tell apart; ours is the darkest line.
COLOURS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#999999", "#b8a800")
GROUP_COLOURS = {GATEWAY: "#0072b2", NGINX: "#009e73", MODEL_SERVER: "#e69f00"}
COST_LOAD = "32"
STYLE = {
    "svg.fonttype": "none",  # text stays text: a tenth of the size
    "svg.hashsalt": "bench",  # the same figures make the same file
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
}


def write_plots(results: Results, folder: Path) -> list[Path]:
    """Write the plots for which there are figures, as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        for name, draw in (("throughput", _throughput), ("latency", _latency), ("cost", _cost)):
            figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
            if draw(results, axes):
                written.append(folder / f"{name}.svg")
                figure.savefig(written[-1], metadata={"Date": None})
            plt.close(figure)
    return written


def _throughput(results: Results, axes: Any) -> bool:
    ticks: set[int] = set()
    for name, each in results["systems"].items():
        cells = [one for one in _of(results, name) if one["load"].isdecimal()]
        if len(cells) > 1:
            ordered = sorted(cells, key=lambda one: int(one["load"]))
            connections = [int(one["load"]) for one in ordered]
            axes.plot(connections, [one["throughput"] for one in ordered], label=each["title"], **_line(results, name))
            ticks.update(connections)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sorted(ticks), [str(tick) for tick in sorted(ticks)])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    axes.set(xlabel="connections", ylabel="right answers a second (log)", title="Texts: throughput")
    _legend(axes)
    return bool(ticks)


def _latency(results: Results, axes: Any) -> bool:
    drawn = False
    for name, each in results["systems"].items():
        cells = sorted(
            (one for one in _of(results, name) if one["load"].endswith("x") and one["p99_ms"]),
            key=lambda one: one["rate"],
        )
        if cells:
            rates, tails = [one["rate"] for one in cells], [one["p99_ms"] for one in cells]
            axes.plot(rates, tails, label=each["title"], **_line(results, name))
            drawn = True
    axes.axhline(1000 * USEFUL_SECONDS, color="#888888", linewidth=1, linestyle="--", label="one second")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="requests offered a second", ylabel="p99, ms (log)")
    axes.set_title("Texts: p99 at a constant rate, from the intended time")
    _legend(axes)
    return drawn


def _cost(results: Results, axes: Any) -> bool:
    rows = [
        (each["title"], found["cpu_us"])
        for name, each in results["systems"].items()
        if (found := cell(results, "text", name, COST_LOAD))
    ]
    titles = [title for title, _ in rows]
    left = [0.0] * len(rows)
    for group, colour in GROUP_COLOURS.items():
        used = [cpu.get(group, 0.0) for _, cpu in rows]
        axes.barh(titles, used, left=left, label=group, color=colour, height=0.65)
        left = [before + more for before, more in zip(left, used, strict=True)]
    for row, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, row), xytext=(4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="microseconds of CPU a request", title=f"Texts, {COST_LOAD} connections: what a right answer costs")
    if rows:
        axes.margins(x=0.12)
        axes.legend(frameon=False, loc="lower right")
    return bool(rows)


def _of(results: Results, name: str) -> list[dict[str, Any]]:
    return [each for each in results["cells"] if (each["kind"], each["system"]) == ("text", name)]


def _line(results: Results, name: str) -> dict[str, Any]:
    """A system has the same colour in every plot."""
    number = list(results["systems"]).index(name)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linewidth": 2.5 if name == OURS else 1.5,
        "marker": "o",
        "markersize": 4,
    }


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
