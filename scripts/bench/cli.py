"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from bench.plan import Plan, closed_loads
from bench.report import terminal_report
from bench.session import Session
from bench.systems import REPOSITORY


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 0 when every system was measured without an error."""
    options = parse(argv)
    home = Path(os.environ.get("WSGIAPP_HOME") or REPOSITORY / "var").resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything that was started is ended
    plan = Plan(
        systems=tuple(options.systems.split(",")),
        loads=closed_loads(options.loads),
        seconds=options.seconds,
        rounds=options.rounds,
    )
    try:
        results = Session(plan, home / "bench", options.models or home / "models").run()
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    path = options.json or home / "bench/results.json"
    path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(terminal_report(results))
    print(f"\nall figures, round by round: {path}")
    return 1 if results["failures"] else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python scripts/bench", description=__doc__)
    parser.add_argument("--systems", default="wsgiapp,flask-gunicorn,fastapi,empty", help="names, with commas")
    parser.add_argument("--loads", default="1,8,32,128", help="connections; 32c: a new connection for each request")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is reported")
    parser.add_argument("--models", type=Path, help="the folder with lstm and cv_sod; default: models in WSGIAPP_HOME")
    parser.add_argument("--json", type=Path, help="where the results go; default: bench/results.json in WSGIAPP_HOME")
    return parser.parse_args(argv)
