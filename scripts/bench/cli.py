"""The benchmark: this service beside what people run instead of it, every answer checked, in one run."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import overload_page
from bench import plan as plans
from bench.overload import RUNG_SECONDS, overload
from bench.plan import Plan
from bench.processes import Failure
from bench.publish import NoSection, publish
from bench.report import terminal_report
from bench.results import without_nan
from bench.session import Session
from bench.soak import soak
from bench.systems import REPOSITORY


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 when every system was measured without a wrong answer."""
    options = parse(argv)
    if options.show:
        shown = json.loads(options.show.read_text(encoding="utf-8"))
        print(terminal_report(shown))
        return _publish(shown) if options.publish else 0
    if options.publish and options.quick:
        print("bench: a quick run is not published; leave --quick out", file=sys.stderr)
        return 2
    home = Path(os.environ.get("WSGIAPP_HOME") or REPOSITORY / "var").resolve()
    # Either ends the run by an exception, so that everything that was started is ended.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _raise_file_limit()
    _keep_files_in(home / "bench/tmp")
    models = options.models or home / "models"
    try:
        if options.overload:
            return _overload(options, home / "bench", models)
        if options.soak:
            return soak(options.soak, home / "bench", models)
        results = Session(plan_of(options), home / "bench", models, options.photos).run()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (Failure, NoSection, OSError) as exc:
        print(f"\nbench: {exc}", file=sys.stderr)
        return 1
    results = without_nan({**results, "quick": options.quick})
    path = options.json or home / "bench/results.json"
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(terminal_report(results))
    from bench.plots import write_plots  # Matplotlib, which a soak does without

    plots = write_plots(results, path.parent)
    print(f"\ntook {results['took_seconds']:.0f} s; all figures, round by round: {path}")
    print("\n".join(f"plot: {plot}" for plot in plots))
    if options.publish and _publish(results):
        return 1
    return 1 if results["failures"] or any(cell["errors"].get("wrong") for cell in results["cells"]) else 0


def _overload(options: argparse.Namespace, home: Path, models: Path) -> int:
    parts = overload(home, models, options.overload.split(","), options.seconds or RUNG_SECONDS)
    if options.publish:
        for file in overload_page.publish(parts, REPOSITORY):
            print(f"wrote {file.relative_to(REPOSITORY)}")
    return 1 if any(part.missed for part in parts) else 0


def plan_of(options: argparse.Namespace) -> Plan:
    """The full plan or the quick one, with what was asked for changed."""
    plan = plans.QUICK if options.quick else plans.FULL
    seconds = options.seconds or plan.text[0].seconds
    if options.rounds:
        plan = replace(plan, rounds=options.rounds, open_rounds=options.rounds)
    if options.loads is not None or options.seconds:
        loads = ",".join(shape.name for shape in plan.text) if options.loads is None else options.loads
        plan = replace(plan, text=plans.closed(loads, seconds))
        if options.loads is not None:
            plan = replace(plan, open=(), image=(), open_systems=(), image_systems=())
    if options.rates is not None:
        plan = replace(plan, open=plans.swept(options.rates, seconds), open_systems=plans.SWEPT_SYSTEMS)
    if options.images is not None:
        plan = replace(plan, image=plans.closed(options.images, seconds), image_systems=plans.IMAGE_SYSTEMS)
    return plan.restricted(tuple(options.systems.split(","))) if options.systems else plan


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python scripts/bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="the main systems and loads, in less than three minutes")
    add("--systems", help=f"names with commas, of {','.join(plans.TEXT_SYSTEMS)}")
    add(
        "--loads", help="connections with commas; 32c: a new connection for each request. Then nothing else is measured"
    )
    add("--rates", help="of the open loop, with commas, as shares of a system's saturation: 0.5,1.5")
    add("--images", help="connections for pictures, with commas")
    add("--seconds", type=float, help="of one measurement")
    add("--rounds", type=int, help="of which the median is reported")
    add("--models", type=Path, help="the folder with lstm and cv_sod; default: models in WSGIAPP_HOME")
    add(
        "--photos",
        type=Path,
        help="a folder of JPEG files; default: views of Matplotlib's photograph, a megapixel each",
    )
    add("--soak", type=int, metavar="N", help="send so many texts through the stack alone; no memory may grow")
    add(
        "--overload",
        metavar="PARTS",
        help="goodput past saturation of text, medium; text beside a flood of pictures, slow, longtexts",
    )
    add("--show", type=Path, metavar="FILE", help="measure nothing; print the tables of an earlier run")
    add(
        "--publish",
        action="store_true",
        help="write the documents; with --show: of that run",
    )
    add("--json", type=Path, help="where the results go; default: bench/results.json in WSGIAPP_HOME")
    return parser.parse_args(argv)


def _publish(results: dict[str, Any]) -> int:
    try:
        for file in publish(results, REPOSITORY):
            print(f"wrote {file.relative_to(REPOSITORY)}")
    except NoSection as exc:
        print(f"bench: not published: a page has no section for it: {exc}", file=sys.stderr)
        return 1
    return 0


def _keep_files_in(folder: Path) -> None:
    """What libraries write of their own accord (jieba's cache, Matplotlib's) goes there, not to the user's folders."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(("TMPDIR", "MPLCONFIGDIR", "KERAS_HOME"), str(folder)))


def _raise_file_limit() -> None:
    """A thousand connections need as many descriptors, and so do the servers that are started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(65536, hard) if hard != resource.RLIM_INFINITY else 65536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
