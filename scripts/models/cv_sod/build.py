"""Build the demo salient-object model `cv_sod` as a TensorFlow SavedModel.

    python scripts/models/cv_sod/build.py --out var/models/cv_sod/1

Nothing is downloaded: the model learns from procedural scenes (`scenes`) in about a minute, and the same seed
gives the same model on the same machine. Its signature, `serving_default`:

* `img_in`: float32 (1, 320, 320, 3), RGB of 0..255 less the mean (126.88, 120.24, 112.19);
* `img_out`: float32 (1, 320, 320, 1) in 0..1, bright on the object.

How a map comes about: classical cues (`cues`) are computed as part of the graph; a small U-Net weighs them
together with the picture itself; a guided filter fits the result to the edges of the full-size picture
(`network`). How the U-Net learns is in `training`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

if __name__ == "__main__":  # run as a file: imports begin at scripts/
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from models.cv_sod.scenes import paint
from quiet import quiet, scratch

# `network` and `training` import TensorFlow, so `build` imports them: a rejection comes at once, and the
# painters' processes, which import this file too, never load it.

#: Scenes painted for training. Each is seen `steps * BATCH / SCENES` times.
SCENES = 1300
#: Scenes a training step looks at.
BATCH = 8
STEPS = 400


class Progress:
    """Tells how far the build is: one line that rewrites itself on a terminal, a line per quarter elsewhere."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def show(self, stage: str, done: int, total: int, loss: float | None = None) -> None:
        tail = "" if loss is None else f"  loss {loss:.3f}"
        line = f"cv_sod  {stage:<8} {done:>4}/{total}{tail}  {time.monotonic() - self.started:.0f} s"
        if self.terminal:
            print(f"\r{line:<70}", end="\n" if done == total else "", flush=True)
        elif done == total or (4 * done // total) != (4 * (done - 1) // total):
            print(line, flush=True)


def paint_all(pool: ProcessPoolExecutor, seed: int, count: int) -> list[Future]:
    """Have `count` scenes painted, in the background, in portions of at most 50."""
    return [pool.submit(paint, seed, range(i, min(i + 50, count))) for i in range(0, count, 50)]


@contextmanager
def published(out: Path) -> Iterator[Path]:
    """A new directory beside `out` to write into; it becomes `out` if the block succeeds and goes if it fails.

    So a model server that watches the folder never sees half a version.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    retired = draft.with_name(draft.name + "-old")
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp lets in the owner alone; a model server may run as another user
        if out.exists():
            out.rename(retired)
        draft.rename(out)
    except BaseException:
        if retired.exists():
            retired.rename(out)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def build(out: Path, seed: int, steps: int) -> None:
    """Paint, train, write."""
    progress = Progress()
    pool = ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=get_context("spawn"))
    with scratch():
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the CPU does it in a minute, and alike every time
        try:
            portions = paint_all(pool, seed, min(SCENES, steps * BATCH))
            with quiet():
                from models.cv_sod.network import export
                from models.cv_sod.training import train
            network = train(portions, seed, steps, BATCH, progress.show)
        finally:
            pool.shutdown(cancel_futures=True)
        with published(out) as directory:
            export(network, directory)
    print(f"cv_sod  written to {out}  {time.monotonic() - progress.started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the demo salient-object model cv_sod.")
    parser.add_argument("--out", type=Path, required=True, help="version directory to write, e.g. var/models/cv_sod/1")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same model (default %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches to train for (default %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace what is at --out")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps {arguments.steps}: at least 1")
    if arguments.out.exists() and not arguments.force:
        parser.error(f"--out {arguments.out}: already there; --force replaces it")
    # A polite stop leaves nothing behind either: SystemExit runs the clean-up that the signal alone would skip.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build(arguments.out, arguments.seed, arguments.steps)


if __name__ == "__main__":
    main()
