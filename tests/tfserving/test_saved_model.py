"""SavedModels are read as TensorFlow reads them, and what cannot be read is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsgiapp.errors import ModelError
from wsgiapp.tfserving.messages import SavedModel, types_pb2
from wsgiapp.tfserving.saved_model import read, signatures


def graph(model: SavedModel, *tags: str) -> None:
    """Add a graph with one signature of one input of strings."""
    added = model.meta_graphs.add()
    added.meta_info_def.tags.extend(tags)
    added.signature_def["another"].inputs["b"].dtype = types_pb2.DT_STRING


def test_signatures_of_the_graph_that_is_served(tmp_path: Path) -> None:
    model = SavedModel()
    graph(model, "serve", "gpu")
    graph(model, "serve")
    model.meta_graphs[1].signature_def["serving_default"].SetInParent()
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    found = signatures(tmp_path)
    assert set(found) == {"serving_default", "another"}
    assert found["another"].inputs["b"].dtype == types_pb2.DT_STRING
    with pytest.raises(ModelError, match=r"no graph has the tag 'tpu' alone; there is 'serve, gpu' and 'serve'"):
        signatures(tmp_path, "tpu")


def test_the_binary_file_comes_first_and_then_the_text(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text('meta_graphs { meta_info_def { tags: "text" } }')
    assert list(read(tmp_path).meta_graphs[0].meta_info_def.tags) == ["text"]
    model = SavedModel()
    graph(model, "binary")
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    assert list(read(tmp_path).meta_graphs[0].meta_info_def.tags) == ["binary"]


def cut_off(path: Path) -> None:
    graph = SavedModel()
    graph.meta_graphs.add().meta_info_def.tags.append("serve")
    (path / "saved_model.pb").write_bytes(graph.SerializeToString()[:-1])


def empty(path: Path) -> None:
    (path / "saved_model.pb").touch()


def of_text(path: Path) -> None:
    (path / "saved_model.pbtxt").write_text("meta_graphs {")


def of_no_text(path: Path) -> None:
    (path / "saved_model.pbtxt").write_bytes(b"\xff\xfe")


def a_directory_as_file(path: Path) -> None:
    (path / "saved_model.pb").mkdir()


def nothing(path: Path) -> None:
    (path / "variables").mkdir()


def in_chunks(path: Path) -> None:
    (path / "saved_model.cpb").touch()


def versions(path: Path) -> None:
    for version in ("3", "12"):
        (path / version).mkdir()
        (path / version / "saved_model.pb").touch()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (cut_off, "saved_model.pb: truncated, or not a SavedModel; copy or export the version again"),
        (empty, "saved_model.pb: holds no graph; it is cut off or empty"),
        (of_text, "saved_model.pbtxt: truncated, or not a SavedModel"),
        (of_no_text, "saved_model.pbtxt: truncated, or not a SavedModel"),
        (a_directory_as_file, "saved_model.pb: Is a directory"),
        (nothing, "no saved_model.pb in it; name a version directory of a SavedModel"),
        (in_chunks, "saved_model.cpb: a SavedModel in chunks, which only TensorFlow's C++ loader reads"),
        (versions, "no saved_model.pb, but a model's versions: name one of them, as "),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, spoil: Callable[[Path], None], problem: str) -> None:
    spoil(tmp_path)
    with pytest.raises(ModelError) as caught:
        signatures(tmp_path)
    assert problem in str(caught.value)
    assert str(tmp_path) in str(caught.value)
