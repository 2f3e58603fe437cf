"""The capacity planner: its arithmetic, where its figures come from, and what it says to wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from wsgiapp.cli.__main__ import main
from wsgiapp.deployment.capacity import Demand, Measured, plan, read_measured
from wsgiapp.errors import CapacityError


def results(**changed: Any) -> dict[str, Any]:
    cell = {"system": "wsgiapp", "kind": "text", "load": "32", "throughput": 500.0, "worker_shares": [0.5, 0.5]}
    cells = [
        {**cell, "load": "1", "throughput": 100.0},
        {**cell, **changed},
        {**cell, "load": "1.5x", "throughput": 9000.0},
        {**cell, "system": "empty", "throughput": 8000.0},
        {**cell, "kind": "image", "throughput": 20.0},
    ]
    return {"machine": {"when": "2025-01-02", "cores": 2, "cpu": "a processor"}, "cells": cells}


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_80_40_rule() -> None:
    demand = Demand(5_000_000)
    assert demand.busy_rate == pytest.approx(115.74, abs=0.01)
    assert demand.peak_rate == pytest.approx(347.2, abs=0.1)
    assert Demand(5_000_000, requests_per_view=2, peak=1).peak_rate == pytest.approx(231.48, abs=0.01)


@pytest.mark.parametrize(
    ("rate", "headroom", "machines", "workers", "one_down"),
    [
        (1000, 0.3, 1, 1, None),
        (347.3, 0.0, 1, 2, None),
        (347.1, 0.0, 2, 3, 1.0003),
        (200, 0.3, 3, 5, 0.868),
        (100, 0.0, 4, 7, 1.157),
    ],
)
def test_machines_and_workers(
    rate: float, headroom: float, machines: int, workers: int, one_down: float | None
) -> None:
    need = plan(Demand(5_000_000), Measured(rate, 2, ""), headroom)
    assert (need.machines, need.workers) == (machines, workers)
    assert need.utilization <= 1 - headroom + 1e-9
    assert need.utilization_one_down == pytest.approx(one_down, abs=0.001)
    assert need.survives_one_down == (one_down is not None and one_down <= 1)


def test_the_best_closed_loop_of_its_kind_is_used(tmp_path: Path) -> None:
    path = written(tmp_path / "results.json", results())
    measured = read_measured([tmp_path / "none.json", path])
    assert (measured.rate, measured.workers) == (500.0, 2)
    assert "2025-01-02" in measured.source and "a processor" in measured.source and str(path) in measured.source
    assert read_measured([path], "image").rate == 20.0


@pytest.mark.parametrize("content", ["text", [], {}, {"cells": [{}]}, {"cells": [], "machine": {}}])
def test_a_file_that_is_no_results(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CapacityError, match="not the results of `make bench`"):
        read_measured([written(tmp_path / "x.json", content)])


def test_results_without_a_measurement_of_ours(tmp_path: Path) -> None:
    content = results()
    content["cells"] = content["cells"][3:4]
    with pytest.raises(CapacityError, match="no closed loop of kind 'text'"):
        read_measured([written(tmp_path / "x.json", content)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page-views", "0"], "page views = 0: not a number above 0"),
        (["--page-views", "nan"], "page views = nan"),
        (["--page-views", "1e6", "--peak", "0.5"], "peak = 0.5: not a factor of 1 or more"),
        (["--page-views", "1e6", "--headroom", "1"], "headroom = 1: not a share"),
        (["--page-views", "1e6", "--requests-per-view", "-1"], "requests per view = -1"),
        (["--page-views", "1e6", "--rate", "0"], "rate = 0"),
        (["--page-views", "1e6", "--workers", "0"], "workers = 0"),
        (["--page-views", "1e6", "--results", "/nowhere.json"], "no measurement in /nowhere.json: run `make bench`"),
    ],
)
def test_wrong_figures_are_said_plainly(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    by_hand = [] if "--results" in arguments else ["--rate", "100"]
    assert main(["capacity", *by_hand, *arguments]) == 1
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path))
    path = written(tmp_path / "bench/results.json", results())
    assert main(["capacity", "--page-views", "5000000"]) == 0
    said = capsys.readouterr().out
    assert "115.7 requests a second (80% of the requests in 40% of the day)" in said
    assert "347.2 requests a second (3 times that)" in said
    assert str(path) in said
    assert "2 workers on 1 machine, with 30% kept free" in said
    assert "run at least 2 machines" in said


@pytest.mark.parametrize(
    ("rate", "headroom", "said"),
    [
        ("100", "0.3", "if one machine fails, the others carry the peak, used to 87%"),
        ("116", "0", "run 4 machines: if one of 3 fails"),
    ],
)
def test_advice_for_a_machine_that_fails(
    capsys: pytest.CaptureFixture[str], rate: str, headroom: str, said: str
) -> None:
    assert main(["capacity", "--page-views", "5000000", "--rate", rate, "--workers", "2", "--headroom", headroom]) == 0
    assert said in capsys.readouterr().out
