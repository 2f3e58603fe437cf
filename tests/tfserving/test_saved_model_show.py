"""What `describe` prints is what TensorFlow's own command prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import SHARED_DATA
from wsgiapp.errors import ModelError
from wsgiapp.tfserving.saved_model_show import describe

# One process shows every model, since importing TensorFlow takes longer than all the rest. It also writes one model
# of TensorFlow 1 with two graphs, and one of TensorFlow 2 whose functions take whatever Python has.
SHOW = """
import contextlib, io, pathlib, sys
import tensorflow as tf
from tensorflow.python.tools import saved_model_cli

folder = pathlib.Path(sys.argv[1])

builder = tf.compat.v1.saved_model.Builder(str(folder / "graphs"))
for tags in (["serve", "gpu"], ["serve"]):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, name="x")
        words = tf.compat.v1.placeholder(tf.string, [None, 2, 3], name="words")
        y = tf.compat.v1.get_variable("w", [2, 1]) + x
        session.run(tf.compat.v1.global_variables_initializer())
        of = tf.compat.v1.saved_model.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def({"x": of(x), "b": of(words)}, {"y": of(y)}, "a/method")
        add = builder.add_meta_graph_and_variables if len(tags) == 2 else builder.add_meta_graph
        add(*([session, tags] if len(tags) == 2 else [tags]), {"serving_default": signature, "another": signature})
builder.save()

class Objects(tf.Module):
    def __init__(self):
        self.w = tf.Variable(1.0)

    @tf.function
    def call(self, x, training=False, mode="a", *, scale=None):
        return x * self.w

    @tf.function
    def nested(self, items, table, rate):
        return items[0] + items[1][0] + table["a"]

    @tf.function
    def composites(self, ragged, sparse):
        return tf.reduce_sum(ragged) + tf.sparse.reduce_sum(sparse)

    @tf.function
    def nothing(self):
        return self.w

objects = Objects()
objects.call(tf.zeros([2]), True)
objects.nested([tf.zeros([1]), (tf.zeros([1]), "deep")], {"a": tf.zeros([1])}, 2.5)
objects.composites(tf.ragged.constant([[1.0], [2.0, 3.0]]), tf.sparse.from_dense([[1.0, 0.0]]))
objects.nothing()
objects.bare = tf.function(lambda x: x).get_concrete_function(tf.TensorSpec(None, tf.float32))
signed = tf.function(lambda a: a, input_signature=[tf.TensorSpec([None, 3], tf.float16, name="q")])
objects.signed = signed
tf.saved_model.save(objects, str(folder / "objects"), signatures=signed)

for name, directory in (argument.split("=") for argument in sys.argv[2:]):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        saved_model_cli._show_all(directory)
    (folder / f"{name}.txt").write_text(printed.getvalue())
"""


@pytest.fixture(scope="module")
def models(tiny_versions: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """SavedModels by name: the directory, and what TensorFlow's command prints about it."""
    folder = tmp_path_factory.mktemp("shown")
    found = {"graphs": folder / "graphs", "objects": folder / "objects", "tiny": tiny_versions[1]}
    if SHARED_DATA.exists():
        found["half_plus_two"] = SHARED_DATA / "tfserving/half_plus_two/00000123"
    (folder / "show.py").write_text(SHOW)
    arguments = [f"{name}={directory}" for name, directory in found.items()]
    env = {**os.environ, "KERAS_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, str(folder / "show.py"), str(folder), *arguments], check=True, env=env)
    return {name: (directory, (folder / f"{name}.txt").read_text()) for name, directory in found.items()}


def with_sorted_operations(text: str) -> str:
    """The sets of operations, which come in any order, sorted; everything else as it is."""
    return re.sub(r"(?<=ops: \{)(.*)(?=\})", lambda match: ", ".join(sorted(match[1].split(", "))), text)


@pytest.mark.parametrize("name", ["graphs", "objects", "tiny", "half_plus_two"])
def test_prints_what_tensorflow_prints(models: dict[str, tuple[Path, str]], name: str) -> None:
    if name not in models:
        pytest.skip("no shared data")
    directory, expected = models[name]
    assert "ops: {'" in expected
    printed = describe(directory) + "\n"
    assert with_sorted_operations(printed) == with_sorted_operations(expected)


def test_is_quick_and_needs_no_tensorflow(tiny_versions: dict[int, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from wsgiapp.tfserving.saved_model_show import describe;"
        "describe(Path(sys.argv[1])); print('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_versions[1])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"


def test_text_format_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text('meta_graphs { meta_info_def { tags: "serve" } }')
    assert describe(tmp_path) == (
        "\nMetaGraphDef with tag-set: 'serve' contains the following SignatureDefs:\n"
        "The MetaGraph with tag set ['serve'] contains the following ops: set()"
    )


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere: not a directory"):
        describe(tmp_path / "nowhere")
