"""From outcomes to figures, goals, tables and the sections of the pages."""

import json
import math
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import plan as plans
from bench.cli import parse, plan_of
from bench.goals import Goal, goals
from bench.outcome import Outcome, percentile
from bench.publish import BEGIN, END, NoSection, page, publish, replace_section, section
from bench.report import terminal_report
from bench.results import middle, sample, without_nan
from bench.soak import Verdict
from bench.tables import aligned, markdown


def measured(throughput: float, **changed: Any) -> dict[str, Any]:
    figures = {
        "rate": 0.0,
        "throughput": throughput,
        "goodput": throughput,
        "p50_ms": 10.0,
        "p95_ms": 20.0,
        "p99_ms": 30.0,
        "right": 100,
        "errors": {},
        "first_error": "",
        "cpu_us": {"gateway": 500.0, "nginx": 50.0, "model server": 100.0},
        "generator_us": 40.0,
        "worker_shares": [0.5, 0.5],
    }
    return {**figures, **changed}


def cell(system: str, load: str, throughput: float, kind: str = "text", **changed: Any) -> dict[str, Any]:
    return {"kind": kind, "system": system, "load": load, **measured(throughput, **changed)}


def results(*cells: dict[str, Any]) -> dict[str, Any]:
    held = {"pss": 200 * 2**20, "max_pss": 100 * 2**20, "max_rss": 120 * 2**20}
    systems = {each["system"]: {"title": each["system"].upper(), "memory": {"workers": held}} for each in cells}
    machine = {"cores": 2, "cpu": "CPU", "memory_bytes": 2**33, "system": "Linux", "python": "3.11", "when": "today"}
    return {
        "machine": machine,
        "systems": systems,
        "cells": list(cells),
        "ready_seconds": 0.9,
        "bare_image_us": [1000.0, 2000.0, 3000.0],
        "failures": {},
    }


FULL = results(
    cell("wsgiapp", "1", 300, p50_ms=4.0),
    cell("grpc", "1", 500, p50_ms=3.0),
    cell("wsgiapp", "32", 2000),
    cell("wsgiapp", "128", 1700),
    cell("flask-gunicorn", "32", 100, p99_ms=300.0),
    cell("fastapi", "32", 400, p99_ms=20.0),
    cell("empty", "32", 9000, cpu_us={"gateway": 200.0}),
    cell("wsgiapp", "0.5x", 1000, rate=1000.0),
    cell("wsgiapp", "1.5x", 1900, rate=3000.0, goodput=1850.0),
    cell("wsgiapp", "4", 30, kind="image", cpu_us={"gateway": 2500.0}),
)


def value_of(given: dict[str, Any], part: str) -> Goal:
    found = [goal for goal in goals(given) if part in goal.name]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.95, 10), (0.99, 10), (0.1, 1), (0.11, 2), (0.0, 1)])
def test_percentiles(share: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], share) == expected
    assert math.isnan(percentile([], share))


def test_a_round() -> None:
    outcome = Outcome(2.0, array("d", [0.1] * 98 + [1.5] * 2), Counter({"wrong": 3}), "wrong: x", 0.01)
    figures = sample(outcome, 60.0)
    assert (figures["throughput"], figures["goodput"], figures["rate"]) == (50, 49, 60)
    assert figures["p50_ms"] == 100 and figures["p99_ms"] == 1500
    assert figures["generator_us"] == pytest.approx(100)
    assert outcome.answered == 103


def test_the_median_of_rounds_keeps_all_errors() -> None:
    rounds = [
        measured(100, errors={"wrong": 1}, first_error="wrong: a"),
        measured(300, cpu_us={"gateway": 800.0}),
        measured(200, errors={"wrong": 2, "timeout": 1}),
    ]
    figures = middle(rounds)
    assert figures["throughput"] == 200 and figures["right"] == 300
    assert figures["errors"] == {"wrong": 3, "timeout": 1} and figures["first_error"] == "wrong: a"
    assert figures["cpu_us"] == {"gateway": 500.0, "model server": 100.0, "nginx": 50.0}


def test_no_nan_reaches_the_file() -> None:
    text = json.dumps(without_nan({"a": [float("nan"), 1.0], "b": {"c": float("nan")}}), allow_nan=False)
    assert json.loads(text) == {"a": [None, 1.0], "b": {"c": None}}


@pytest.mark.parametrize(
    ("part", "value", "reached"),
    [
        ("throughput against Flask", 20, True),
        ("p99 against Flask", 0.1, True),
        ("throughput against FastAPI", 5, True),
        ("p99 against FastAPI", 1.5, False),
        ("throughput against LitServe", None, None),
        ("empty pywsgi", 2.5, False),
        ("median above raw gRPC", 1.0, True),
        ("bare OpenCV", 1.25, True),
        ("128 connections against 32", 85, False),
        ("goodput past saturation", 92.5, True),
        ("busiest worker", 1.0, True),
        ("memory of a worker", 100, True),
        ("is ready", 0.9, True),
    ],
)
def test_goals(part: str, value: float | None, reached: bool | None) -> None:
    goal = value_of(FULL, part)
    assert goal.value == (None if value is None else pytest.approx(value))
    assert goal.reached is reached


def test_goals_without_any_measurement() -> None:
    assert {goal.reached for goal in goals({**results(), "ready_seconds": None, "bare_image_us": []})} == {None}


def test_goodput_that_collapses_everywhere_has_no_low_peak() -> None:
    given = results(cell("wsgiapp", "32", 1000), cell("wsgiapp", "1.5x", 300, goodput=300.0))
    assert value_of(given, "goodput past saturation").value == 30


def test_the_terminal_report_names_what_went_wrong() -> None:
    wrong = cell("fastapi", "8", 10, errors={"wrong": 4}, first_error="wrong: b'{}'")
    given = {**results(*FULL["cells"], wrong), "failures": {"litserve": "it did not start"}}
    text = terminal_report(given)
    assert "NOT MEASURED: litserve: it did not start" in text
    assert "fastapi, the first error: wrong: b'{}'" in text and "4 wrong" in text
    assert "MISSED" in text and "reached" in text and "not measured" in text


def test_tables() -> None:
    assert aligned(("name", "n"), [("文本", "10"), ("abcdef", "5")]).splitlines() == [
        "name     n",
        "------  --",
        "文本    10",
        "abcdef   5",
    ]
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_section_holds_the_figures(language: str) -> None:
    text = section(FULL, language)
    assert "| WSGIAPP | 2,000 | 10.0 | 30.0 | 0 | 500 | 200 |" in text
    assert "bench/latency.svg" in text
    assert ("**missed**" if language == "en" else "**未达到**") in text
    assert "FASTAPI" in page(FULL)


def test_a_section_is_replaced_and_nothing_else() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_section(text, "\nnew\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replace_section(replace_section(text, "new"), "new") == replace_section(text, "new")


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}", f"{END}{BEGIN}{END}"])
def test_markers_that_do_not_fit(text: str) -> None:
    with pytest.raises(NoSection):
        replace_section(text, "new")


def test_a_run_is_published(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("docs/benchmark.md", "docs/zh/benchmark.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# Title\n{BEGIN}\n{END}\nend\n", encoding="utf-8")
    given = {**FULL, "cells": [{**each, "rounds": [1, 2, 3]} for each in FULL["cells"]]}
    written = {str(path.relative_to(tmp_path)) for path in publish(given, tmp_path)}
    plots = {f"docs/bench/{name}.svg" for name in ("throughput", "latency", "cost")}
    assert written == {
        *plots,
        "docs/bench/README.md",
        "docs/bench/results.json",
        "docs/benchmark.md",
        "docs/zh/benchmark.md",
    }
    assert "吞吐量" in (tmp_path / "docs/zh/benchmark.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "docs/bench/results.json").read_text()) == FULL
    assert all(
        "WSGIAPP" in (tmp_path / plot).read_text() and (tmp_path / plot).stat().st_size < 100_000 for plot in plots
    )


def test_nothing_is_published_where_a_page_has_no_section(tmp_path: Path) -> None:
    for name in ("docs/benchmark.md", "docs/zh/benchmark.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("no markers", encoding="utf-8")
    with pytest.raises(NoSection):
        publish(FULL, tmp_path)
    assert not (tmp_path / "docs/bench").exists()


def test_plots_without_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.plots import write_plots

    assert write_plots(results(), tmp_path) == []


def test_plans() -> None:
    assert plans.QUICK.seconds < 180
    assert plans.FULL.seconds < 1800
    assert [(each.connections, each.keep_alive) for each in plans.closed("8, 32c", 1)] == [(8, True), (32, False)]
    assert [each.name for each in plans.swept("0.5,1.5", 1)] == ["0.5x", "1.5x"]
    assert plans.swept("1.5", 1)[0].at(200).rate == 300


def test_options_change_the_plan() -> None:
    plan = plan_of(parse(["--systems", "wsgiapp,empty", "--loads", "32", "--seconds", "4", "--rounds", "2"]))
    assert plan.systems == ("wsgiapp", "empty") and plan.rounds == 2
    assert [(each.connections, each.seconds) for each in plan.text] == [(32, 4.0)]
    assert not plan.open and not plan.image
    assert plan_of(parse(["--quick"])) == plans.QUICK
    assert plan_of(parse(["--quick", "--images", "4"])).image_systems == plans.IMAGE_SYSTEMS


def test_a_soak_that_is_well_and_others() -> None:
    assert Verdict(10, before={1: 100}, after={1: 104}).problems() == []
    assert Verdict(10, before={1: 100}, after={1: 106}).problems() == ["process 1 grew by 6.0%; 5% is allowed"]
    assert Verdict(10, before={1: 100}, after={2: 100}).problems() == ["processes changed: [1] became [2]"]
    assert Verdict(10, Counter({"timeout": 2}), "timeout: x").problems() == ["2 requests: timeout", "timeout: x"]
