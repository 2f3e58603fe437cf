"""The messages come without TensorFlow, and do not stand in its way."""

import subprocess
import sys


def run(code: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_tensorflow_itself_is_not_loaded_and_stays_importable() -> None:
    code = (
        "import sys, importlib.util; from wsgiapp.tfserving import messages;"
        "print('tensorflow' in sys.modules, importlib.util.find_spec('tensorflow') is not None)"
    )
    assert run(code) == ["False", "True"]


def test_a_real_tensorflow_shares_the_messages(tmp_path: object) -> None:
    code = (
        f"import os; os.environ['KERAS_HOME'] = {str(tmp_path)!r};"
        "from wsgiapp.tfserving import messages; import tensorflow as tf;"
        "print(type(tf.make_tensor_proto([1.0])) is messages.TensorProto, int(tf.constant(1) + 1))"
    )
    assert run(code) == ["True", "2"]
