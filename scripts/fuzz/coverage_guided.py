"""One target under atheris: libFuzzer looks for inputs that reach new lines of the parsers."""

from __future__ import annotations

import sys
from pathlib import Path

from fuzz.targets.target import MAX_BYTES

SECONDS_AN_INPUT = 10
MAX_MEGABYTES = 400


def fuzz(name: str, seconds: int, corpus: Path, found: Path) -> None:
    """Run until the time is up or an input fails, which is written below `found`. It ends the process."""
    import atheris  # type: ignore[import-untyped,unused-ignore]

    with atheris.instrument_imports(include=["wsgiapp"]):
        from fuzz.targets.catalog import TARGETS
    target = TARGETS[name]
    write_seeds(target.seeds, corpus)
    found.mkdir(parents=True, exist_ok=True)
    options = {
        "max_total_time": seconds,
        "max_len": MAX_BYTES,
        "timeout": SECONDS_AN_INPUT,
        "rss_limit_mb": MAX_MEGABYTES,
        "artifact_prefix": f"{found}/{name}-",
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], *(f"-{option}={value}" for option, value in options.items()), str(corpus)], target.run)
    atheris.Fuzz()


def write_seeds(seeds: tuple[bytes, ...], corpus: Path) -> None:
    """The inputs to begin with; what earlier runs found of interest stays."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
