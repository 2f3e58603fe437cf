"""Checkpoints become SavedModels with the trained weights, and whatever fails leaves nothing behind."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints.export import Interruption
from support.processes import REPOSITORY, SHARED_DATA, SUPPORT, Process, poll
from wsgiapp.tfserving import saved_model

SCRIPTS = REPOSITORY / "scripts"
IMAGES = np.linspace(-1, 1, 2 * 8 * 8 * 3, dtype=np.float32).reshape(2, 8, 8, 3)
FIXED = ("--constant", "keep_prob=1.0", "--constant", "is_training=false")


@dataclass(frozen=True)
class Ran:
    """How a script ended."""

    status: int
    out: str
    err: str


class Worker:
    """The process with TensorFlow that has trained the checkpoints in `folder`, and runs the scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        env = {**os.environ, "KERAS_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._log = (folder / "worker.log").open("w")
        self._child = subprocess.Popen(
            [sys.executable, str(SUPPORT / "checkpoint_worker.py"), str(folder)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._answer() == "ready\n"

    def export(self, name: str, out: Path, *arguments: str, meta: str = "", file_bytes: int = 0) -> Ran:
        """Run `export` on one of the checkpoints."""
        files = ["--meta", str(self.folder / (meta or f"{name}.meta")), "--checkpoint", str(self.folder / name)]
        return Ran(**self._ask(export=[*files, "--out", str(out), *arguments], file_bytes=file_bytes))

    def random(self, meta: str, prefix: Path, *arguments: str, file_bytes: int = 0) -> Ran:
        """Run `random_weights` on one of the graphs."""
        files = ["--meta", str(self.folder / meta), "--checkpoint", str(prefix)]
        return Ran(**self._ask(random=[*files, *arguments], file_bytes=file_bytes))

    def predict(self, directory: Path, **inputs: Any) -> Any:
        return self._ask(predict=str(directory), inputs=inputs)

    def close(self) -> None:
        self._child.terminate()
        self._child.wait(30)
        for file in (self._child.stdin, self._child.stdout, self._log):
            assert file is not None
            file.close()

    def _ask(self, **order: Any) -> Any:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(order) + "\n")
        self._child.stdin.flush()
        return json.loads(self._answer())

    def _answer(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line, f"the worker ended:\n{(self.folder / 'worker.log').read_text()[-4000:]}"
        return line


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    started = Worker(tmp_path_factory.mktemp("checkpoints"))
    yield started
    started.close()


def options(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> list[str]:
    arguments = []
    for option, tensors in (("--input", inputs), ("--output", outputs)):
        for name, tensor in tensors.items():
            arguments += [option, f"{name}={tensor}"]
    return arguments


IMAGE_MODEL = (*options({"img_in": "collection:image_batch"}, {"img_out": "collection:mask"}), *FIXED)
X_TO_Y = options({"x": "x"}, {"y": "y"})


def rejected(ran: Ran, problem: str, out: Path) -> None:
    """The run failed with one line, and left nothing where `out` should have been."""
    assert problem in ran.err
    assert ran.err.startswith("export: ")
    assert ran.err.count("\n") == 1
    assert ran.status == 1
    assert not out.parent.exists() or not [each.name for each in out.parent.iterdir() if out.name in each.name]


# --- the weights ---


def test_the_newest_checkpoint_of_a_folder_that_was_moved(worker: Worker, tmp_path: Path) -> None:
    """Its file is TensorFlow's own, with absolute paths."""
    state = (worker.folder / "checkpoint").read_text()
    assert f'model_checkpoint_path: "{worker.folder}/slow"' in state
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in worker.folder.glob("averages.*"):
        shutil.copy(file, moved)
    (moved / "checkpoint").write_text(state.replace(f"{worker.folder}/slow", "/nowhere/averages"))
    ran = worker.export(str(moved), tmp_path / "1", *X_TO_Y, meta="averages.meta")
    assert (ran.status, ran.err) == (0, "")
    assert f" variables from {moved}/averages\n" in ran.out
    assert worker.predict(tmp_path / "1", x=2.0) == {"y": 6.0}
    (moved / "checkpoint").unlink()
    ran = worker.export(str(moved), tmp_path / "2", *X_TO_Y, meta="averages.meta")
    rejected(ran, f"--checkpoint {moved}: no file checkpoint in it says which one is the newest", tmp_path / "2")


@pytest.mark.parametrize("kind", ["reference", "resource"])
def test_the_trained_weights_are_served(worker: Worker, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "models" / "7"
    ran = worker.export(kind, out, *IMAGE_MODEL)
    assert (ran.status, ran.err) == (0, "")
    assert [line.split("s  ")[1].split()[0] for line in ran.out.splitlines()] == [
        "read", "imported", "imported", "restored", "predicted", "wrote", "loaded"
    ]  # fmt: skip
    assert "restored 3 of 3 variables" in ran.out
    trained = np.load(worker.folder / f"{kind}.npy")
    np.testing.assert_allclose(worker.predict(out, img_in=IMAGES.tolist())["img_out"], trained, rtol=1e-5)
    assert [each.name for each in out.parent.iterdir()] == ["7"]


def test_only_what_the_signature_needs_is_exported(worker: Worker, tmp_path: Path) -> None:
    out = tmp_path / "1"
    assert worker.export("reference", out, *IMAGE_MODEL, "--signature", "map", "--tag", "serve").status == 0
    (signature,) = saved_model.signatures(out).items()
    assert signature[0] == "map"
    assert signature[1].method_name == "tensorflow/serving/predict"
    assert [dim.size for dim in signature[1].inputs["img_in"].tensor_shape.dim] == [-1, 8, 8, 3]
    graph = saved_model.read(out).meta_graphs[0].graph_def
    operations = [node.op for node in graph.node]
    assert "Conv2D" in operations
    assert not {"ApplyAdam", "Conv2DBackpropFilter", "ScalarSummary"} & set(operations)
    assert operations.count("SaveV2") == 1
    assert {node.name for node in graph.node if node.op == "Placeholder"} == {"images"}


@pytest.mark.parametrize(("name", "meta"), [("averages", "averages.txt"), ("older", "older.meta")])
def test_the_graphs_saver_knows_the_names(worker: Worker, tmp_path: Path, name: str, meta: str) -> None:
    out = tmp_path / "1"
    assert worker.export(name, out, *X_TO_Y, meta=meta).status == 0
    assert worker.predict(out, x=2.0) == {"y": 6.0}


def test_tables_and_local_variables_are_initialised_at_load_and_nothing_else(worker: Worker, tmp_path: Path) -> None:
    vocabulary = worker.folder / "words.txt"
    arguments = options({"words": "words:0"}, {"cost": "cost"})
    text = vocabulary.read_text()
    vocabulary.unlink()
    try:
        rejected(worker.export("tables", tmp_path / "1", *arguments), f"needs the file {vocabulary}", tmp_path / "1")
    finally:
        vocabulary.write_text(text)
    assert worker.export("tables", tmp_path / "2", *arguments).status == 0
    moved = tmp_path / "elsewhere"
    (tmp_path / "2").rename(moved)
    vocabulary.rename(tmp_path / "hidden")
    try:
        assert worker.predict(moved, words=["b", "?", "a"]) == {"cost": [60.5, -1.5, 20.5]}
    finally:
        (tmp_path / "hidden").rename(vocabulary)


def test_partitions_and_a_graph_without_saver(worker: Worker, tmp_path: Path) -> None:
    assert worker.export("partitioned", tmp_path / "1", *X_TO_Y).status == 0
    assert worker.predict(tmp_path / "1", x=[[1.0, 1.0, 1.0, 1.0]]) == {"y": [[6.0, 6.0]]}


def test_missing_variables_are_named_and_initialised_only_on_demand(worker: Worker, tmp_path: Path) -> None:
    arguments = options({"x": "x"}, {"y": "y_and_copy"})
    ran = worker.export("partitioned", tmp_path / "1", *arguments)
    rejected(ran, "lacks 1 of the 3 variables that the outputs need: copy; name the checkpoint", tmp_path / "1")
    ran = worker.export("partitioned", tmp_path / "1", *arguments, "--allow-missing")
    assert ran.status == 0, ran.err
    assert "initialised the others, which the checkpoint lacks: copy" in ran.out
    # the copy starts as the sum of the restored weights, (1 + 1 + 2 + 2) * 2
    assert worker.predict(tmp_path / "1", x=[[1.0, 1.0, 1.0, 1.0]]) == {"y": [[18.0, 18.0]]}


def test_an_input_queue_is_cut_off(worker: Worker, tmp_path: Path) -> None:
    assert worker.export("queue", tmp_path / "1", *options({"row": "next:1"}, {"y": "y"})).status == 0
    assert worker.predict(tmp_path / "1", row=[1.0, 2.0]) == {"y": [5.0, 10.0]}
    out = tmp_path / "2"
    assert (
        worker.export("queue", out, *options({"row": "next:1"}, {"loss": "loss"}), "--constant", "next=3").status == 0
    )
    assert worker.predict(out, row=[1.0, 2.0]) == {"loss": 9.0}


def test_a_sample_of_ones_own(worker: Worker, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 4)))
    assert worker.export("partitioned", tmp_path / "1", *X_TO_Y, "--sample", f"x={tmp_path}/x.npy").status == 0
    for wrong in (np.ones((3, 5)), np.array("text")):
        np.save(tmp_path / "x.npy", wrong)
        ran = worker.export("partitioned", tmp_path / "2", *X_TO_Y, "--sample", f"x={tmp_path}/x.npy")
        rejected(ran, "--input: the model rejects the sample input", tmp_path / "2")


# --- what is wrong ---


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("reference", ["--input", "x=out/prob", "--output", "y=y"], "no tensor 'out/prob'; did you mean out/probs"),
        ("reference", ["--input", "x=maps", "--output", "y=y"], "no tensor 'maps'; did you mean conv/maps"),
        ("reference", ["--input", "x=images:b", "--output", "y=y"], "'images:b' is no name of a tensor; images:0"),
        ("queue", options({"x": "next:1", "z": "next:9"}, {"y": "y"}), "--input z=next:9: "),
        ("averages", options({"x": "x", "z": "w"}, {"y": "y"}), "--input z=w:0: a resource is no value"),
        ("reference", ["--input", "images", "--output", "y=y"], "--input images: not of the form NAME=TENSOR"),
        (
            "reference",
            ["--input", "x=collection:images", "--output", "y=y"],
            "no collection 'images' of tensors; there is image_batch, losses, mask, summaries, train_op",
        ),
        (
            "reference",
            ["--input", "x=collection:losses", "--output", "y=y"],
            "the collection 'losses' holds 2 tensors; name one: Sum:0, conv/maps:0",
        ),
        ("reference", ["--input", "x=collection:variables", "--output", "y=y"], "no collection 'variables' of tensors"),
        ("averages", ["--input", "x=x", "--input", "x=w", "--output", "y=y"], "the name x is given twice"),
        ("averages", ["--input", "x=x", "--output", "y=y", "--constant", "x=1"], "is another input or a constant"),
        ("reference", ["--input", "x=images", "--output", "y=out/probs"], "needs the placeholders is_training, keep_p"),
        ("queue", ["--input", "x=next:1", "--output", "y=loss"], "needs next, the input queue of the training"),
        ("queue", ["--input", "x=next:1", "--output", "y=behind"], "needs called, a Python function"),
        ("averages", [*X_TO_Y, "--sample", "z=z.npy"], "--sample z=z.npy: no such input; there is x"),
        ("averages", [*X_TO_Y, "--sample", "x=/nowhere.npy"], "--sample x=/nowhere.npy: cannot be read"),
        ("averages", [*X_TO_Y, "--method", "regress"], "--method regress: needs the input 'inputs', a string"),
        ("reference", [*IMAGE_MODEL[:4], "--constant", "keep_prob=abc", *FIXED[2:]], "=abc: no float32 in JSON; as "),
        ("reference", [*IMAGE_MODEL[:4], *FIXED[:2], "--constant", "is_training=[true]"], "]: of shape (1,); the "),
        ("reference", [*IMAGE_MODEL[:4], *FIXED[:2], "--constant", "is_training=0"], "is_training:0=0: no bool in "),
        ("queue", [*options({"x": "next:1"}, {"y": "loss"}), "--constant", "next=0.5"], "no int32 in JSON"),
        ("queue", [*options({"x": "next:1"}, {"y": "loss"}), "--constant", "next=9999999999"], "no int32 in JSON"),
    ],
)
def test_wrong_arguments_are_said_in_a_line(
    worker: Worker, tmp_path: Path, name: str, arguments: list[str], problem: str
) -> None:
    rejected(worker.export(name, tmp_path / "new" / "1", *arguments), problem, tmp_path / "new" / "1")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ("frozen.pb", "no meta graph, but a bare graph (GraphDef), whose weights, if it is frozen, are constants"),
        ("frozen.pbtxt", "no meta graph, but a bare graph (GraphDef)"),
        ("words.txt", "no meta graph, or one that is cut off; name the .meta file beside a checkpoint"),
        ("cut.meta", "no meta graph, or one that is cut off"),
        ("model/saved_model.pb", "no meta graph, but a SavedModel already"),
        ("averages.index", "no meta graph, or one that is cut off"),
        ("nowhere.meta", "nowhere.meta: No such file or directory; name the .meta file"),
        ("custom.txt", "cannot import what is needed of it: Op type not registered 'MulOfMyOwn'"),
    ],
)
def test_what_is_no_meta_graph(
    worker: Worker, tiny_versions: dict[int, Path], tmp_path: Path, meta: str, problem: str
) -> None:
    (worker.folder / "cut.meta").write_bytes((worker.folder / "averages.meta").read_bytes()[:-9])
    shutil.copytree(tiny_versions[1], worker.folder / "model", dirs_exist_ok=True)
    rejected(worker.export("averages", tmp_path / "1", *X_TO_Y, meta=meta), problem, tmp_path / "1")


def spoiled(worker: Worker, copy: str, suffix: str, keep: int) -> None:
    """A copy of a checkpoint of which one file is cut off."""
    for file in worker.folder.glob("averages.*"):
        shutil.copy(file, file.with_name(file.name.replace("averages", copy, 1)))
    (cut,) = worker.folder.glob(f"{copy}.{suffix}")
    os.truncate(cut, keep)


def test_what_is_no_checkpoint(worker: Worker, tmp_path: Path) -> None:
    spoiled(worker, "cut_data", "data*", 2)
    spoiled(worker, "cut_index", "index", 40)
    for name, problem in {
        "cut_data": "--checkpoint {}: w/ExponentialMovingAverage cannot be read: ",
        "cut_index": "--checkpoint {}: ",
        "average": "the prefix is a path without .index, as " + str(worker.folder / "averages"),
        "averages.index": "the prefix is a path without .index, as " + str(worker.folder / "averages"),
        "objects": "--checkpoint {}: an object-based checkpoint of TensorFlow 2",
        "tables": "--checkpoint {}: lacks 1 of the 1 variables that the outputs need: w",
    }.items():
        ran = worker.export(name, tmp_path / "1", *X_TO_Y, meta="averages.meta")
        rejected(ran, problem.format(worker.folder / name), tmp_path / "1")
        if "cut" in name:
            assert "the file is cut off or damaged: copy the checkpoint again" in ran.err


def test_values_of_another_shape(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    ran = worker.export(
        "partitioned", tmp_path / "models/1", *options({"row": "next:1"}, {"y": "y"}), meta="queue.meta"
    )
    rejected(ran, "w is float32 of shape (4, 2), but the graph wants float32 of shape ()", tmp_path / "models/1")
    assert (tmp_path / "models").exists()


def test_a_random_operation_that_is_not_switched_off(worker: Worker, tmp_path: Path) -> None:
    arguments = options({"img_in": "images"}, {"img_out": "out/probs"})
    fixed = ["--constant", "keep_prob=0.5", "--constant", "is_training=false"]
    ran = worker.export("reference", tmp_path / "1", *arguments, *fixed)
    rejected(ran, "--output img_out: the written model predicts otherwise; dropout/random", tmp_path / "1")


# --- the place ---


def test_a_version_is_never_overwritten(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    ran = worker.export("averages", tmp_path / "1", *X_TO_Y)
    assert ran.status == 1
    assert f"--out {tmp_path}/1: is there already, and a version is never overwritten" in ran.err
    assert list(tmp_path.rglob("*")) == [tmp_path / "1"]
    rejected(worker.export("averages", tmp_path / "one", *X_TO_Y), "the last part is the version", tmp_path / "one")
    (tmp_path / "file").touch()
    ran = worker.export("averages", tmp_path / "file" / "1", *X_TO_Y)
    assert f"--out {tmp_path}/file/1: cannot be written, and nothing is left of it: " in ran.err


@pytest.mark.parametrize("file_bytes", [100, 4096])
def test_a_file_that_may_not_grow(worker: Worker, tmp_path: Path, file_bytes: int) -> None:
    """EFBIG: at the first file that is written, and at a later one."""
    out = tmp_path / "new" / "1"
    ran = worker.export("reference", out, *IMAGE_MODEL, file_bytes=file_bytes)
    rejected(ran, f"--out {out}: cannot be written, and nothing is left of it: ", out)
    assert "File too large" in ran.err
    assert not out.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk(worker: Worker, tmp_path: Path) -> None:
    """ENOSPC."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k,mode=755", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        ran = worker.export("reference", disk / "models" / "1", *IMAGE_MODEL)
        rejected(ran, f"--out {disk}/models/1: cannot be written, and nothing is left of it: ", disk / "models" / "1")
        assert "No space left on device" in ran.err
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_export_leaves_nothing(worker: Worker, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "models" / "1"
    files = ["--meta", f"{worker.folder}/slow.meta", "--checkpoint", f"{worker.folder}/slow", "--out", str(out)]
    command = [sys.executable, str(SCRIPTS / "checkpoints/export.py"), *files, *X_TO_Y]
    with Process(command, tmp_path / "log") as process:
        poll(lambda: "wrote" in process.output, 120, "a draft")
        (draft,) = out.parent.iterdir()
        assert draft.name == f".1.partial-{process.pid}"
        process.send(number)
        assert process.wait(60) == 1
        assert process.output.endswith(f"--out {out}: interrupted, and nothing is left of it; start again\n")
    assert not out.parent.exists()


def test_an_interruption_that_a_library_catches_comes_again() -> None:
    interruption = Interruption()
    interruption.check()
    with contextlib.suppress(KeyboardInterrupt):
        interruption(signal.SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


# --- random weights ---


def test_random_weights_to_try_a_graph_with(worker: Worker, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        ran = worker.random("reference.meta", tmp_path / name / "weights", "--seed", seed)
        assert (ran.status, ran.err) == (0, "")
    # 3 variables of the network and 2 of Adam for the only one that is trained, with its two powers
    assert ran.out.startswith("wrote 7 variables, 334 numbers, to ")
    contents = [(tmp_path / name / "weights.data-00000-of-00001").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]
    ran = worker.random("reference.meta", tmp_path / "a" / "weights")
    assert (ran.status, ran.err) == (
        1,
        f"random_weights: --checkpoint {tmp_path}/a/weights: is there already; name another prefix\n",
    )
    ran = worker.random("reference.meta", tmp_path / "e" / "weights", file_bytes=100)
    assert (ran.status, ran.err.count("\n")) == (1, 1)
    assert "File too large" in ran.err
    assert list((tmp_path / "e").iterdir()) == []
    ran = worker.random("frozen.pb", tmp_path / "d")
    assert (ran.status, ran.err.count("\n")) == (1, 1)


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="no shared data")
def test_the_graph_of_a_real_saliency_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    from checkpoints.meta_graph import MetaGraph

    meta = MetaGraph(SHARED_DATA / "checkpoint/my-model.meta")
    mask = meta.tensor("collection:mask", "--output")
    assert mask == "final_mask/mask:0"
    assert meta.tensor("collection:image_batch", "--input") == "Placeholder:0"
    kept = meta.needed_to_run([mask], {"Placeholder:0"})
    assert len(meta.saved_variables()) == 76
    assert len(kept & set(meta.variables)) == 72
    assert not [name for name in kept if meta.nodes[name].op in ("ApplyAdam", "QueueDequeueManyV2", "RandomShuffle")]
