"""Version directories that load, that do not, and the memory after them: each in a process with TensorFlow."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.tensorflow_child import load_outcomes, run_child
from wsgiapp.tfserving.messages import SavedModel, types_pb2

VARIABLES = "variables/variables.data-00000-of-00001"
INDEX = "variables/variables.index"


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_operation(name: str) -> Callable[[Path], None]:
    """The function that answers strings as they are uses another operation, of a text and a text."""

    def change(folder: Path) -> None:
        model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        for function in model.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                if node.op == "Identity" and node.attr["T"].type == types_pb2.DT_STRING:
                    node.op = name
                    node.attr.clear()
                    node.attr["normalization_form"].s = b"NFKC"
        (folder / "saved_model.pb").write_bytes(model.SerializeToString())

    return change


def on_a_gpu(folder: Path) -> None:
    model = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for node in model.meta_graphs[0].graph_def.node:
        if node.op == "VarHandleOp":
            node.device = "/device:GPU:0"
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


DAMAGE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "whole": (lambda folder: None, "OK", ""),
    "no_model": (remove("saved_model.pb"), "NOT_FOUND", "should have a file called `saved_model.pb`"),
    "in_chunks": (
        lambda folder: (folder / "saved_model.pb").rename(folder / "saved_model.cpb"),
        "UNIMPLEMENTED",
        "saved_model.cpb can be read by TensorFlow's C++ loader only",
    ),
    "empty_model": (cut("saved_model.pb", 0), "NOT_FOUND", "it has no meta graph with the tags of --saved_model_tags"),
    "half_model": (cut("saved_model.pb", 3000), "DATA_LOSS", "saved_model.pb is truncated or no SavedModel"),
    "no_variables": (lambda folder: shutil.rmtree(folder / "variables"), "NOT_FOUND", f"{INDEX} is missing"),
    "no_index": (remove(INDEX), "NOT_FOUND", f"{INDEX} is missing"),
    "half_index": (cut(INDEX, 60), "DATA_LOSS", "its variables are missing or truncated"),
    "no_data": (remove(VARIABLES), "DATA_LOSS", "its variables are missing or truncated"),
    "half_data": (cut(VARIABLES, 3), "DATA_LOSS", "its variables are missing or truncated"),
    "half_lite": (cut("model.tflite", 300), "DATA_LOSS", "convert it again"),
    "no_variables_needed": (lambda folder: shutil.rmtree(folder / "variables"), "OK", ""),
    "text": (with_operation("NormalizeUTF8"), "OK", ""),
    "operation": (
        with_operation("NoSuchOperation"),
        "UNIMPLEMENTED",
        "name the library that has it in --operation_libraries (Op type not registered 'NoSuchOperation'",
    ),
    "device": (
        on_a_gpu,
        "INVALID_ARGUMENT",
        "(Cannot assign a device for operation Variable/Read/ReadVariableOp: Could not satisfy explicit device "
        "specification '' because the node {{colocation_node Variable/Read/ReadVariableOp}} was colocated with a group "
        "of nodes that required incompatible device '/device:GPU:0'. All available devices ["
        "/job:localhost/replica:0/task:0/device:CPU:0].)",
    ),
    "lite": (remove("saved_model.pb"), "OK", ""),
}


def test_what_does_not_load_says_what_to_do(
    tiny_versions: dict[int, Path], serving_models: Path, tmp_path: Path
) -> None:
    for name, (damage, _, _) in DAMAGE.items():
        source = serving_models / "lite/1" if "lite" in name else tiny_versions[1]
        source = serving_models / "kinds/1" if name == "no_variables_needed" else source
        shutil.copytree(source, tmp_path / name)
        damage(tmp_path / name)
    outcomes = load_outcomes(*(tmp_path / name for name in DAMAGE), prefer_tflite=True)
    for (name, (_, code, text)), (found_code, found_text) in zip(DAMAGE.items(), outcomes, strict=True):
        assert found_code == code, f"{name}: {found_text}"
        assert text in found_text
        assert "\n" not in found_text
        assert code == "OK" or str(tmp_path / name) in found_text


def test_where_tensorflow_text_is_not_installed_the_error_says_how_to(
    tiny_versions: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow_text").mkdir()  # found first, and without a library
    (tmp_path / "tensorflow_text/__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    shutil.copytree(tiny_versions[1], tmp_path / "1")
    with_operation("NormalizeUTF8")(tmp_path / "1")
    ((code, text),) = load_outcomes(tmp_path / "1")
    assert code == "UNIMPLEMENTED"
    assert "TensorFlow Text's come with the extra wsgiapp[text] (`pip install tensorflow-text`)" in text
    assert "Op type not registered 'NormalizeUTF8'" in text


def test_operations_that_tensorflow_lite_lacks_are_found_when_a_model_is_loaded(serving_models: Path) -> None:
    lacking = {"missing": "NoSuchOperation", "newer": "version '999'", "select": "FlexRoll"}
    outcomes = load_outcomes(
        *(serving_models / name / "1" for name in (*lacking, "stored", "sequence")), prefer_tflite=True
    )
    for (code, text), name in zip(outcomes[:3], lacking.values(), strict=True):
        assert code == "UNIMPLEMENTED"
        assert "lacks an operation of the model" in text
        assert name in text
        assert "model.tflite: " in text
        assert "\n" not in text
    assert outcomes[3:] == [("OK", "")] * 2


def test_tags_and_warm_up_are_chosen(serving_models: Path, tmp_path: Path) -> None:
    shutil.copytree(serving_models / "train/1", tmp_path / "1")
    requests = tmp_path / "1/assets.extra/tf_serving_warmup_requests"
    requests.parent.mkdir()
    requests.write_bytes(b"no records at all")
    assert load_outcomes(tmp_path / "1", tags=["train"])[0][0] == "DATA_LOSS"
    assert load_outcomes(tmp_path / "1", tags=["train"], warmup_iterations=0) == [("OK", "")]


@pytest.mark.parametrize("model", ["large", "many"])
def test_an_unloaded_version_gives_its_memory_back(memory_models: Path, model: str) -> None:
    """100 MB of variables, or many operations: after 20 loads and unloads within 10% of what it was after 2."""
    megabytes = [float(line) for line in run_child("memory", str(memory_models / model), "20")]
    assert len(megabytes) == 20
    assert megabytes[-1] < 1.1 * megabytes[1], megabytes
    assert megabytes[-1] - megabytes[1] < 25, f"more than a quarter of the variables is still there: {megabytes}"
