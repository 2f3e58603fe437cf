"""Make every fault in turn under a steady load, and say what clients saw of it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from bench.processes import Failure
from bench.publish import NoSection
from bench.systems import REPOSITORY
from chaos.report import publish, terminal_report
from chaos.session import Session
from chaos.soak import soak


def main(argv: list[str] | None = None) -> int:
    """Run it; 0 when every promise was kept."""
    options = _parse(argv)
    home = Path(os.environ.get("WSGIAPP_HOME") or REPOSITORY / "var").resolve()
    # Either ends the run by an exception, so that everything that was started is ended.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.soak:
            return soak(options.soak, home / "chaos", home / "models", options.rate)
        results = Session(home / "chaos", home / "models", options.rate, options.only).run()
        print(terminal_report(results))
        if options.publish:
            for file in publish(results, options.rate, REPOSITORY):
                print(f"wrote {file.relative_to(REPOSITORY)}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (Failure, NoSection, OSError) as exc:
        print(f"\nchaos: {exc}", file=sys.stderr)
        return 1
    return 1 if any(result.is_kept is False for result in results) else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python scripts/chaos", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of the names of the faults to make; default: all")
    parser.add_argument("--rate", type=float, default=400.0, help="texts a second; default: %(default)g")
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", help="the faults with a promise, at random, for so long"
    )
    parser.add_argument("--publish", action="store_true", help="write the table into the documents")
    return parser.parse_args(argv)
