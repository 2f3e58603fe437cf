"""Operations that TensorFlow itself lacks: TensorFlow Text's, and those of libraries that the operator names."""

import importlib.util
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.servables import runtime
from wsgiapp.tfserving.messages import MetaGraphDef

log = logging.getLogger(__name__)

TEXT = "tensorflow_text"

_lock = threading.Lock()
_loaded: set[Path] = set()


def load_libraries(paths: Iterable[Path]) -> None:
    """Register the operations in shared libraries. Raises `SettingsError` for one that is not there or does not fit."""
    with _lock:
        for path in paths:
            if path in _loaded:
                continue
            try:
                runtime.load_library(str(path))
            except (runtime.errors.OpError, OSError) as exc:
                raise SettingsError(f"the operation library {path} cannot be loaded: {exc}") from exc
            _loaded.add(path)


def load_for(graph: MetaGraphDef) -> None:
    """Register TensorFlow Text's operations, if it is installed and the graph has some that nobody else has.

    Not at the start: it takes 0.2 s and maps 170 MB (measured), which other models do without.
    """
    if runtime.unknown_operations(graph):
        try:
            load_libraries(text_libraries())
        except SettingsError as exc:
            log.error("TensorFlow Text does not fit TensorFlow %s: %s", runtime.VERSION, exc)


def text_libraries() -> list[Path]:
    """TensorFlow Text's shared libraries; none where it is not installed. Its Python would import all of TensorFlow."""
    spec = importlib.util.find_spec(TEXT)
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    return [path for folder in folders for path in sorted(Path(folder, "python").rglob("*.so"))]


def advice() -> str:
    """What to do about an operation that nobody has."""
    if text_libraries():
        return (
            f"neither TensorFlow {runtime.VERSION} nor TensorFlow Text has an operation of the model: name the library "
            "that has it in --operation_libraries"
        )
    return (
        f"TensorFlow {runtime.VERSION} lacks an operation of the model: TensorFlow Text's come with "
        "the extra wsgiapp[text] (`pip install tensorflow-text`), others with libraries: --operation_libraries"
    )
