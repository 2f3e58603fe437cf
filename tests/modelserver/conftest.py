"""Models of many kinds, and two model servers that serve them: with the defaults, and with what flags turn on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from support.processes import SHARED_DATA, SUPPORT, Process, free_port, python_module
from support.serving_client import ServingClient, connected
from support.tensorflow_child import run_child
from support.version_folders import VersionFolders
from wsgiapp.tfserving.messages import SavedModel

SERVING_MODELS = SUPPORT / "serving_models.py"
NORMALIZE_OPERATIONS = "tensorflow_text/python/ops/_normalize_ops.so"
HALF_PLUS_TWO = SHARED_DATA / "tfserving/half_plus_two"


@pytest.fixture(scope="session")
def serving_models(tiny_versions: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `serving_models.py` writes, and `defaults`: `tiny` with a default for its input."""
    folder = tmp_path_factory.mktemp("models")
    env = {**os.environ, "KERAS_HOME": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}
    written = subprocess.run(
        [sys.executable, str(SERVING_MODELS), str(folder)], env=env, capture_output=True, text=True
    )
    assert written.returncode == 0, written.stderr
    write_defaults(tiny_versions[1], folder / "defaults/1")
    return folder


def write_defaults(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "variables").symlink_to(source / "variables")
    model = SavedModel.FromString((source / "saved_model.pb").read_bytes())
    default = model.meta_graphs[0].signature_def["serving_default"].defaults["x"]
    default.dtype = model.meta_graphs[0].signature_def["serving_default"].inputs["x"].dtype
    default.tensor_shape.dim.add(size=1)
    default.tensor_shape.dim.add(size=1)
    default.float_val.append(10.0)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


@contextmanager
def running(folder: Path, models: dict[str, Path], *flags: str) -> Iterator[ServingClient]:
    """A model server with all versions of the models, and a client of it."""
    port = free_port()
    config = folder / "models.config"
    entries = (
        f"""config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }} }}"""
        for name, path in models.items()
    )
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    command = python_module(
        "wsgiapp.modelserver", f"--port={port}", "--host=127.0.0.1", f"--model_config_file={config}", *flags
    )
    with Process(command, folder / "log", KERAS_HOME=str(folder)) as process:
        process.wait_until(lambda: "serving gRPC" in process.output)
        with connected(f"127.0.0.1:{port}") as client:
            yield client


@pytest.fixture(scope="session")
def serving(
    serving_models: Path, tiny_versions: dict[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServingClient]:
    """A client of a server with the default flags; not to be stopped."""
    names = ("examples", "kinds", "keras", "bare", "train", "lite", "defaults")
    models = {name: serving_models / name for name in names} | {"tiny": tiny_versions[1].parent}
    if HALF_PLUS_TWO.exists():
        models["half_plus_two"] = HALF_PLUS_TWO
    with running(tmp_path_factory.mktemp("serving"), models) as client:
        yield client


@pytest.fixture(scope="session")
def flagged(serving_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingClient]:
    """A client of a server that batches, prefers TensorFlow Lite, checks method names, without a profiler; not to be
    stopped."""
    folder = tmp_path_factory.mktemp("flagged")
    parameters = folder / "batching.txt"
    parameters.write_text(
        """max_batch_size { value: 8 } batch_timeout_micros { value: 100000 } num_batch_threads { value: 2 }
        allowed_batch_sizes: 4 allowed_batch_sizes: 8 pad_variable_length_inputs: true"""
    )
    models = {name: serving_models / name for name in ("examples", "kinds", "lite", "plain")}
    if HALF_PLUS_TWO.exists():
        models["half_plus_two"] = HALF_PLUS_TWO
    flags = (
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
        "--prefer_tflite_model",
        "--enable_serialization_as_tensor_content=true",
        "--enable_signature_method_name_check",
        "--enable_profiler=false",
        "--tensorflow_session_parallelism=2",
        f"--operation_libraries={metadata.distribution('tensorflow-text').locate_file(NORMALIZE_OPERATIONS)}",
    )
    with running(folder, models, *flags) as client:
        yield client


@pytest.fixture
def make_folders(tmp_path: Path) -> Iterator[Callable[..., VersionFolders]]:
    made: list[VersionFolders] = []

    def make(**options: object) -> VersionFolders:
        made.append(VersionFolders(tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for folders in made:
        folders.open_gates()
        assert folders.reconciler.stop(20)


@pytest.fixture(scope="session")
def memory_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions `large`, with 100 MB of variables, and `many`, with 60 small operations."""
    folder = tmp_path_factory.mktemp("memory")
    run_child("models", str(folder))
    return folder
