#!/usr/bin/env python
"""Turn a checkpoint of TensorFlow 1 into a SavedModel that TensorFlow Serving loads.

    python scripts/checkpoints/export.py --meta my-model.meta --checkpoint my-model --out var/models/cv_sod/2 \\
        --input img_in=collection:image_batch --output img_out=collection:mask

A tensor is named as in the graph (`conv1/Relu:0`, or `conv1/Relu` for its first output) or by the collection whose only
entry it is. What the outputs do not need (losses, optimiser, input queues, summaries) stays behind. The weights are
those of the checkpoint, or of the newest one in a folder, under the names that the graph's own saver gives them, and
nothing initialises them again, neither here nor when the model is loaded. The model is written beside its place,
loaded, and asked for a prediction, which must be that of the restored graph; then it is renamed into its place. A
failure leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # run as a file: imports begin at scripts/
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from checkpoints.meta_graph import PLACEHOLDERS, VARIABLES, CheckpointError, MetaGraph, Signature, shortened
from checkpoints.newest import prefix_of
from quiet import quiet, scratch

# `restored_graph` imports TensorFlow, so `run` imports it: a rejection comes at once.

METHODS = ("predict", "classify", "regress")
#: Operations, by the start of their names, that no server can run, and what to do about them.
UNSERVABLE = {
    "PyFunc": "a Python function, which no SavedModel holds; name the tensor that it gives with --input",
    "EagerPyFunc": "a Python function, which no SavedModel holds; name the tensor that it gives with --input",
    "Mutable": "a mutable lookup table, whose entries are in no meta graph; name the tensor found in it with --input",
    "Iterator": "the data set of the training; name the tensor that it gives with --input",
    "OneShotIterator": "the data set of the training; name the tensor that it gives with --input",
    "Queue": "the input queue of the training; name the tensor that it gives with --input",
    "Reader": "the input files of the training; name the tensor that they give with --input",
}


class Progress:
    """A line for each step, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {line}", flush=True)


class Interruption:
    """A handler of signals that raises `KeyboardInterrupt`, also at the next `check`: a library may catch the first."""

    def __init__(self) -> None:
        self._came = False

    def __call__(self, number: int, frame: object) -> None:
        self._came = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if a signal has come."""
        if self._came:
            raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if the model stands in its place."""
    options = parse_options(argv)
    interruption = Interruption()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, interruption)
    try:
        with scratch():
            run(options, Progress(), interruption)
    except CheckpointError as exc:
        problem = str(exc)
    except KeyboardInterrupt:
        problem = f"--out {options.out}: interrupted, and nothing is left of it; start again"
    except OSError as exc:
        problem = f"--out {options.out}: cannot be written, and nothing is left of it: {exc.strerror or exc}"
    else:
        return 0
    print(f"export: {problem}", file=sys.stderr)
    return 1


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line's options; prints the usage and exits with 2 where one is missing."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0],
        epilog="TENSOR is a name in the graph, or collection:NAME for the only entry of a collection.",
    )
    add = parser.add_argument
    add("--meta", type=Path, required=True, metavar="FILE", help="the graph: the .meta file of the checkpoint")
    add(
        "--checkpoint",
        required=True,
        metavar="PREFIX",
        help="the weights: PREFIX.index and PREFIX.data-..., or a folder, of which the newest are taken",
    )
    add("--out", type=Path, required=True, metavar="DIR/VERSION", help="version directory, e.g. var/models/cv_sod/2")
    add("--input", action="append", required=True, metavar="NAME=TENSOR", help="an input of the signature")
    add("--output", action="append", required=True, metavar="NAME=TENSOR", help="an output of the signature")
    add(
        "--constant",
        action="append",
        default=[],
        metavar="TENSOR=VALUE",
        help="a tensor to fix, e.g. keep_prob=1.0 or is_training=false",
    )
    add("--tag", action="append", metavar="TAG", help="tag of the graph (default: serve)")
    add("--signature", default="serving_default", metavar="KEY", help="the signature's key (default: %(default)s)")
    add("--method", choices=METHODS, default="predict", help="the signature's method (default: %(default)s)")
    add(
        "--allow-missing",
        action="store_true",
        help="initialise the variables that the checkpoint lacks, and only those, instead of failing",
    )
    add(
        "--sample",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="an input to compare predictions with: a .npy file, or the bytes of a string (default: random)",
    )
    return parser.parse_args(argv)


def run(options: argparse.Namespace, progress: Progress, interruption: Interruption) -> None:
    """Read, restore, write, compare, rename. What can be rejected is rejected before the slow import of TensorFlow."""
    reject_place(options.out)
    meta = MetaGraph(options.meta)
    signature = read_signature(meta, options)
    reject_unservable(meta, signature)
    samples = read_samples(options.sample, signature)
    prefix = prefix_of(options.checkpoint)
    progress.say(f"read {options.meta}: {len(meta.nodes)} nodes, written by TensorFlow {meta.version}")
    with quiet():
        from checkpoints import restored_graph
    progress.say("imported TensorFlow")
    checkpoint = restored_graph.Checkpoint(prefix)
    with restored_graph.new_session() as session:
        restored = restored_graph.RestoredGraph(session, meta, signature, f"--meta {options.meta}")
        progress.say(f"imported the {restored.nodes} nodes that the signature needs")
        missing = restored.restore(checkpoint, allow_missing=options.allow_missing)
        count = len(restored.variables)
        progress.say(f"restored {count - len(missing)} of {count} variables from {prefix}")
        if missing:
            progress.say(f"initialised the others, which the checkpoint lacks: {shortened(missing)}")
        inputs, expected = restored.predict(samples)
        progress.say("predicted with a sample input")
        tags, failed = options.tag or ["serve"], f"--out {options.out}: cannot be written, and nothing is left of it"
        with place(options.out) as directory:
            with restored_graph.explained(failed):
                restored.save(directory, tags, options.signature, options.method)
            progress.say(f"wrote {megabytes(directory):.1f} MB beside {options.out}")
            with restored_graph.explained(f"{failed}: what was written cannot be loaded"):
                got = restored_graph.load_and_predict(directory, tags, options.signature, inputs)
            if different := restored_graph.differing(expected, got):
                random = meta.random_operations(signature.outputs.values(), signature.cut)
                hint = f"; {shortened(random)}: random, fix what switches it on with --constant" if random else ""
                raise CheckpointError(f"--output {different[0]}: the written model predicts otherwise{hint}")
            interruption.check()
            progress.say(f"loaded it: it predicts the same, and becomes {options.out}")


def reject_place(out: Path) -> None:
    """Raise `CheckpointError` for a version directory with an invalid name, or that is there already."""
    if not (out.name.isascii() and out.name.isdecimal()):
        raise CheckpointError(f"--out {out}: the last part is the version, a whole number, as in {out / '1'}")
    if os.path.lexists(out):
        raise CheckpointError(f"--out {out}: is there already, and a version is never overwritten; name another one")


def read_signature(meta: MetaGraph, options: argparse.Namespace) -> Signature:
    """The tensors that the options name. Raises `CheckpointError`."""
    constants = {}
    for text in options.constant:
        source, value = _split("--constant", text, "TENSOR=VALUE")
        constants[meta.tensor(source, f"--constant {text}")] = value
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    for option, texts, found in (("--input", options.input, inputs), ("--output", options.output, outputs)):
        for text in texts:
            name, source = _split(option, text, "NAME=TENSOR")
            if name in found:
                raise CheckpointError(f"{option} {text}: the name {name} is given twice")
            found[name] = meta.tensor(source, f"{option} {text}")
    for name, tensor in inputs.items():
        if tensor in constants or list(inputs.values()).count(tensor) > 1:
            raise CheckpointError(f"--input {name}={tensor}: the tensor is another input or a constant already")
    return Signature(inputs, outputs, constants)


def reject_unservable(meta: MetaGraph, signature: Signature) -> None:
    """Raise `CheckpointError` where the outputs need what a server does not have."""
    needed = sorted(meta.needed(signature.outputs.values(), signature.cut))
    unfed = [name for name in needed if meta.nodes[name].op in PLACEHOLDERS]
    if unfed:
        raise CheckpointError(
            f"--output: needs the placeholders {shortened(unfed)}; give each an --input or --constant"
        )
    for name in needed:
        for start, about in UNSERVABLE.items():
            if meta.nodes[name].op.startswith(start):
                raise CheckpointError(f"--output: needs {name}, {about}")
    unknown = [name for name in needed if meta.nodes[name].op in VARIABLES and name not in meta.variables]
    if unknown:
        raise CheckpointError(
            f"--meta {meta.file}: no collection describes the variables {shortened(unknown)}; "
            "write it again with tf.train.export_meta_graph, without a collection_list"
        )


def read_samples(texts: Sequence[str], signature: Signature) -> dict[str, Any]:
    """The arrays, or the bytes, of the files that `--sample` names, by input. Raises `CheckpointError`."""
    samples: dict[str, Any] = {}
    for text in texts:
        name, file = _split("--sample", text, "NAME=FILE")
        if name not in signature.inputs:
            raise CheckpointError(f"--sample {text}: no such input; there is {', '.join(signature.inputs)}")
        try:
            samples[name] = np.load(file, allow_pickle=False) if file.endswith(".npy") else Path(file).read_bytes()
        except (OSError, ValueError, EOFError) as exc:
            raise CheckpointError(f"--sample {text}: cannot be read: {exc}") from exc
    return samples


@contextmanager
def place(out: Path) -> Iterator[Path]:
    """A new directory beside `out` to write into. It becomes `out` if the block succeeds, and is gone if it fails.

    So a model server that watches the folder never sees half a version. Folders above it that were missing go, too.
    """
    made = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    draft = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        yield draft
        reject_place(out)
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def megabytes(directory: Path) -> float:
    """What the files of a directory take."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6


def _split(option: str, text: str, form: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name and value):
        raise CheckpointError(f"{option} {text}: not of the form {form}")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
