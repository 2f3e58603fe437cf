"""A TensorFlow Lite model on a pool of interpreters (`--prefer_tflite_model`)."""

import os
import queue
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables import runtime
from wsgiapp.modelserver.servables.saved_model import release_memory
from wsgiapp.modelserver.servables.signatures import PREDICT
from wsgiapp.modelserver.servables.tensors import shape_text
from wsgiapp.tfserving.messages import SignatureDef, TensorInfo, types_pb2
from wsgiapp.tfserving.saved_model import DEFAULT_SIGNATURE
from wsgiapp.tfserving.tensors import TENSORFLOW_TYPES, Arrays

# The package ai-edge-litert, to which the warning points, has the same class; TensorFlow 2.21 still ships it.
warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")


@dataclass(frozen=True, slots=True)
class Procedure:
    """One signature on one interpreter: its tensors' details by alias, and what runs it."""

    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    run: Callable[[Arrays], Arrays]


class TfliteServable:
    """A `model.tflite`: its own signatures, or `serving_default` with the names of its tensors, where it has none.

    Inputs are resized to what a request sends, in dimension 0 and in those that the model leaves open.
    """

    def __init__(self, file: Path, *, threads: int = 0) -> None:
        """Load the model; `threads` are those of one interpreter. Raises `ServingError` that names the file."""
        self._content = file.read_bytes()
        self._threads = max(1, threads)
        try:
            first = self._interpreter()
        except (ValueError, RuntimeError) as exc:
            raise ServingError(
                grpc.StatusCode.DATA_LOSS,
                f"{file}: truncated, no TensorFlow Lite model, or one with operations that TensorFlow "
                f"{runtime.VERSION} lacks: convert it again ({_first_line(exc)})",
            ) from None
        self.signatures: Mapping[str, SignatureDef] = _signature_defs(first)
        self._idle: queue.LifoQueue[Mapping[str, Procedure] | None] = queue.LifoQueue()
        for _ in range((os.cpu_count() or 1) - 1):
            self._idle.put(None)  # room for another interpreter, which is made when it is needed
        self._idle.put(first)

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        """As `servable.Servable.run`; one call at a time and interpreter."""
        key, signature = self._signature(feeds, fetches)
        by_alias = {alias: feeds[info.name] for alias, info in signature.inputs.items()}
        for alias, array in by_alias.items():
            _check_shape(alias, array, signature.inputs[alias])
        with self._borrowed() as procedures:
            try:
                values = procedures[key].run(by_alias)
            except (ValueError, RuntimeError) as exc:
                shapes = ", ".join(f"{alias} {shape_text(array)}" for alias, array in by_alias.items())
                raise invalid_argument(f"the model cannot run on inputs of {shapes}: {_first_line(exc)}") from exc
        by_name = {info.name: values[alias] for alias, info in signature.outputs.items()}
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """As `servable.Servable.close`."""
        self._idle = queue.LifoQueue()
        self._content = b""
        release_memory()

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
        procedures = self._idle.get()
        try:
            procedures = procedures or self._interpreter()
            yield procedures
        except BaseException:
            self._idle.put(None)
            raise
        self._idle.put(procedures)

    def _interpreter(self) -> Mapping[str, Procedure]:
        interpreter = runtime.lite_interpreter(self._content, self._threads)
        keys = interpreter.get_signature_list()
        if keys:
            return {key: _by_signature(interpreter.get_signature_runner(key)) for key in sorted(keys)}
        interpreter.allocate_tensors()
        return {DEFAULT_SIGNATURE: _by_tensors(interpreter)}


def _by_signature(runner: Any) -> Procedure:
    return Procedure(runner.get_input_details(), runner.get_output_details(), lambda arrays: runner(**arrays))


def _by_tensors(interpreter: Any) -> Procedure:
    inputs = {details["name"]: details for details in interpreter.get_input_details()}
    outputs = {details["name"]: details for details in interpreter.get_output_details()}

    def run(arrays: Arrays) -> Arrays:
        for name, array in arrays.items():
            interpreter.resize_tensor_input(inputs[name]["index"], array.shape)
        interpreter.allocate_tensors()
        for name, array in arrays.items():
            interpreter.set_tensor(inputs[name]["index"], array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(details["index"]) for name, details in outputs.items()}

    return Procedure(inputs, outputs, run)


def _signature_defs(procedures: Mapping[str, Procedure]) -> dict[str, SignatureDef]:
    """The signatures as TF Serving describes them. Two of them may have tensors of one name, but not here."""
    made: dict[str, SignatureDef] = {}
    taken: set[str] = set()
    for key, procedure in procedures.items():
        signature = SignatureDef(method_name=PREDICT)
        for ends, entries in ((procedure.inputs, signature.inputs), (procedure.outputs, signature.outputs)):
            for alias, details in ends.items():
                name = details["name"] if details["name"] not in taken else f"{key}/{alias}"
                entries[alias].CopyFrom(_tensor_info(name, details))
        taken |= {info.name for info in (*signature.inputs.values(), *signature.outputs.values())}
        made[key] = signature
    return made


def _tensor_info(name: str, details: Mapping[str, Any]) -> TensorInfo:
    kind = details["dtype"]
    info = TensorInfo(name=name, dtype=types_pb2.DT_STRING if kind is np.bytes_ else TENSORFLOW_TYPES[np.dtype(kind)])
    info.tensor_shape.SetInParent()
    for size in details["shape_signature"].tolist():
        info.tensor_shape.dim.add(size=size)
    return info


def _check_shape(alias: str, array: np.ndarray, info: TensorInfo) -> None:
    """Reject what the model does not take: not every operation of TensorFlow Lite checks shapes, some read beyond.

    The text leaves dimension 0 out, which is the rows of all that share the run.
    """
    sizes = [dim.size for dim in info.tensor_shape.dim]
    if array.ndim != len(sizes):
        raise invalid_argument(f"input {alias} has {array.ndim} dimensions; the model takes {len(sizes)}")
    if any(size not in (-1, got) for size, got in zip(sizes[1:], array.shape[1:], strict=True)):
        raise invalid_argument(
            f"input {alias} has rows of the shape {_sizes(array.shape[1:])}; the model takes {_sizes(sizes[1:])}"
        )


def _sizes(sizes: Sequence[int]) -> str:
    return "[" + ",".join("?" if size < 0 else str(size) for size in sizes) + "]"


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0]
