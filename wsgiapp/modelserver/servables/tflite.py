"""A TensorFlow Lite model on a pool of interpreters (`--prefer_tflite_model`)."""

import os
import queue
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables import runtime
from wsgiapp.modelserver.servables.saved_model import release_memory
from wsgiapp.modelserver.servables.tensors import shape_text
from wsgiapp.modelserver.servables.tflite_procedures import Procedure, lacks_operation, procedures, stored_signatures
from wsgiapp.modelserver.servables.tflite_sandbox import TfliteSandbox
from wsgiapp.tfserving.messages import SignatureDef
from wsgiapp.tfserving.tensors import Arrays

MAX_TRIED = 10_000


class TfliteServable:
    """A `model.tflite`: its own signatures, or `serving_default` with the names of its tensors, where it has none.

    Inputs are resized to what a request sends, also in dimensions for which the model names a size, as in TF Serving;
    but then in a sandbox. Dimensions that it leaves open may be as small as it takes, which is tried in the sandbox.
    """

    def __init__(self, file: Path, *, threads: int = 0) -> None:
        """Load the model; `threads` are those of one interpreter. Raises `ServingError` that names the file."""
        self._content = file.read_bytes()
        self._threads = max(1, threads)
        try:
            self._stored = stored_signatures(self._content)
            first = self._interpreter()
        except (ServingError, ValueError, RuntimeError) as exc:
            raise _load_error(file, exc) from None
        self.signatures: Mapping[str, SignatureDef] = {key: each.signature for key, each in first.items()}
        self._sizes = {key: each.sizes for key, each in first.items()}
        is_open = any(-1 in sizes[1:] for inputs in self._sizes.values() for sizes in inputs.values())
        self._takes_any_size = not is_open or runtime.lite_takes_any_size(self._content)
        self._tried: set[Hashable] = set()  # sizes of inputs that were answered
        self._sandbox = TfliteSandbox(self._content, self.signatures, threads=self._threads)
        self._idle: queue.LifoQueue[Mapping[str, Procedure] | None] = queue.LifoQueue()
        for _ in range((os.cpu_count() or 1) - 1):
            self._idle.put(None)  # room for another interpreter, which is made when it is needed
        self._idle.put(first)

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        """As `servable.Servable.run`; one call at a time and interpreter."""
        key, signature = self._signature(feeds, fetches)
        by_alias = {alias: feeds[info.name] for alias, info in signature.inputs.items()}
        sizes = self._sizes[key]
        fits = all(_fits(array, sizes[alias]) for alias, array in by_alias.items())
        shapes = (key, *((alias, array.shape) for alias, array in sorted(by_alias.items())))
        if fits and (self._takes_any_size or shapes in self._tried):
            values = self._run(key, by_alias)
        else:
            values = self._sandbox.run(key, by_alias)
            if len(self._tried) < MAX_TRIED:
                self._tried.add(shapes)
        by_name = {info.name: values[alias] for alias, info in signature.outputs.items()}
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """As `servable.Servable.close`."""
        self._idle = queue.LifoQueue()
        self._sandbox.close()
        self._content = b""
        release_memory()

    def _run(self, key: str, arrays: Arrays) -> Arrays:
        with self._borrowed() as borrowed:
            try:
                return borrowed[key].run(arrays)
            except (ValueError, RuntimeError) as exc:
                shapes = ", ".join(f"{alias} {shape_text(array)}" for alias, array in arrays.items())
                raise invalid_argument(f"the model cannot run on inputs of {shapes}: {_first_line(exc)}") from exc

    def _signature(self, feeds: Arrays, fetches: Sequence[str]) -> tuple[str, SignatureDef]:
        """The signature that has these tensors."""
        for key, signature in self.signatures.items():
            inputs = {info.name for info in signature.inputs.values()}
            if inputs == set(feeds) and {info.name for info in signature.outputs.values()}.issuperset(fetches):
                return key, signature
        raise invalid_argument("no one signature of the TensorFlow Lite model has all the tensors that are asked for")

    @contextmanager
    def _borrowed(self) -> Iterator[Mapping[str, Procedure]]:
        """An interpreter for one call. One that failed is not used again: it may be half set up."""
        interpreter = self._idle.get()
        try:
            interpreter = interpreter or self._interpreter()
            yield interpreter
        except BaseException:
            self._idle.put(None)
            raise
        self._idle.put(interpreter)

    def _interpreter(self) -> Mapping[str, Procedure]:
        return procedures(runtime.lite_interpreter(self._content, self._threads), self._stored)


def _fits(array: np.ndarray, sizes: Sequence[int]) -> bool:
    """Whether an input has the model's sizes, where it names them, but for dimension 0: the rows of a request."""
    return (
        array.ndim == len(sizes)
        and array.size > 0
        and all(size in (-1, got) for size, got in zip(sizes[1:], array.shape[1:], strict=True))
    )


def _load_error(file: Path, exc: Exception) -> ServingError:
    """The operator's error in one line: the file, what to do, the reason."""
    reason = _first_line(exc)
    if isinstance(exc, ServingError):
        return ServingError(exc.code, f"{file}: {reason}")
    if lacks_operation(exc):
        advice = (
            f"TensorFlow Lite {runtime.VERSION} lacks an operation of the model: convert it with operations that it has"
        )
        return ServingError(grpc.StatusCode.UNIMPLEMENTED, f"{file}: {advice} ({reason})")
    advice = "truncated, or no model of TensorFlow Lite: convert it again"
    return ServingError(grpc.StatusCode.DATA_LOSS, f"{file}: {advice} ({reason})")


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0]
