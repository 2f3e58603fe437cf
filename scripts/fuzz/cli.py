"""Random input for every parser, guided by what it reaches, and random requests for the running service."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.systems import REPOSITORY
from fuzz.api import fuzz_api
from fuzz.coverage_guided import fuzz

# The running service gets so much of the time; the parsers share the rest.
API_SHARE = 0.3
API = "api"


def main(argv: list[str] | None = None) -> int:
    """Run it; 0 when nothing was found."""
    options = _parse(argv)
    home = Path(os.environ.get("WSGIAPP_HOME") or REPOSITORY / "var").resolve()
    if options.one:
        fuzz(options.one, max(1, round(60 * options.minutes)), home / "fuzz/corpus" / options.one, home / "fuzz/found")
        return 0
    if options.replay:
        return _replay(*options.replay)
    return _all(options, home)


def _all(options: argparse.Namespace, home: Path) -> int:
    from fuzz.targets.catalog import TARGETS

    chosen = options.targets or [*TARGETS, API]
    parsers = [name for name in chosen if name != API]
    seconds = 60 * options.minutes
    api_seconds = 0.0 if API not in chosen else seconds * (API_SHARE if parsers else 1)
    failed = False
    for name in parsers:
        share = (seconds - api_seconds) / len(parsers)
        failed |= not _fuzz_parser(name, share / 60, home / "fuzz")
    if API in chosen:
        failed |= not _fuzz_api(api_seconds, home, options.seed)
    print("FAILED: see above" if failed else "nothing found")
    return 1 if failed else 0


def _fuzz_parser(name: str, minutes: float, folder: Path) -> bool:
    """Whether it held."""
    log = folder / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(Path(__file__).parent), "--one", name, "--minutes", f"{minutes:.3f}"]
    started = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT)
    said = log.read_text(encoding="utf-8", errors="replace")
    runs = next((line.split()[-1] for line in said.splitlines() if "number_of_executed_units" in line), "?")
    print(
        f"{name:16} {runs:>10} inputs in {time.monotonic() - started:.0f} s{'' if done.returncode == 0 else ': FAILED'}"
    )
    if done.returncode != 0:
        print("\n".join(said.splitlines()[-30:]))
        print(f"again: python scripts/fuzz --replay {name} FILE (in {folder / 'found'})")
    return done.returncode == 0


def _fuzz_api(seconds: float, home: Path, seed: int) -> bool:
    findings = fuzz_api(seconds, home / "fuzz/stack", home / "models", seed)
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(findings.statuses.items()))
    print(f"{API:16} {findings.statuses.total():>10} requests: {statuses}")
    print("\n".join(findings.problems))
    return not findings.problems


def _replay(name: str, file: str) -> int:
    from fuzz.targets.catalog import TARGETS

    TARGETS[name].run(Path(file).read_bytes())
    print("it holds")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"names of parsers, or {API}; default: all")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all together; default: %(default)g")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the requests; default: the time")
    parser.add_argument("--one", metavar="TARGET", help="fuzz this parser in this process")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one input again")
    return parser.parse_args(argv)
