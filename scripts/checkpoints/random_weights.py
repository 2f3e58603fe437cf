#!/usr/bin/env python
"""Write a checkpoint of random weights for a meta graph, to try a graph whose weights one does not have.

    python scripts/checkpoints/random_weights.py --meta my-model.meta --checkpoint var/tmp/my-model

The variables are those that the graph's own saver saves, or all where it has none, as their initialisers make them. The
same seed gives the same weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: imports begin at scripts/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from checkpoints.meta_graph import CheckpointError, MetaGraph
from quiet import quiet, scratch


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if the checkpoint is written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add = parser.add_argument
    add("--meta", type=Path, required=True, metavar="FILE", help="the graph")
    add("--checkpoint", type=Path, required=True, metavar="PREFIX", help="what the checkpoint's files begin with")
    add("--seed", type=int, default=1, help="of every random draw (default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        with scratch():
            run(options.meta, options.checkpoint, options.seed)
    except CheckpointError as exc:
        problem = str(exc)
    except OSError as exc:
        problem = f"--checkpoint {options.checkpoint}: cannot be written: {exc.strerror or exc}"
    else:
        return 0
    print(f"random_weights: {problem}", file=sys.stderr)
    return 1


def run(file: Path, prefix: Path, seed: int) -> None:
    """Initialise the variables, and save them."""
    started = time.monotonic()
    if files_of(prefix):
        raise CheckpointError(f"--checkpoint {prefix}: is there already; name another prefix")
    meta = MetaGraph(file)
    variables = meta.saved_variables()
    if not variables:
        raise CheckpointError(f"--meta {file}: the graph has no variables")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        from checkpoints import restored_graph
    try:
        count = restored_graph.save_initial_values(meta, variables, prefix, seed)
    except BaseException:
        for file in files_of(prefix):
            file.unlink()
        raise
    print(f"wrote {len(variables)} variables, {count:,} numbers, to {prefix} in {time.monotonic() - started:.1f} s")


def files_of(prefix: Path) -> list[Path]:
    """The files of a checkpoint."""
    return [*prefix.parent.glob(f"{prefix.name}.data-*"), *prefix.parent.glob(f"{prefix.name}.index*")]


if __name__ == "__main__":
    sys.exit(main())
