"""One loaded version of a model. The only module that touches TensorFlow."""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes about processors and missing GPUs

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from wsgiapp.codec import NUMPY_TYPES
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.protos import SignatureDef

tf.get_logger().setLevel(logging.ERROR)  # it finds the loader of TensorFlow 1 deprecated; TF Serving uses it too

SERVE_TAG = "serve"
GRPC_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class Servable:
    """A SavedModel (of TensorFlow 1 or 2) in a session of its own, so that unloading it frees all it took."""

    def __init__(self, path: Path, *, intra_op_threads: int = 0, inter_op_threads: int = 0) -> None:
        """Load the model. Raises what TensorFlow raises for a directory that it cannot load."""
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=inter_op_threads
        )
        config.gpu_options.allow_growth = True
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            meta_graph = tf.compat.v1.saved_model.load(self._session, [SERVE_TAG], str(path))
        except BaseException:
            self._session.close()
            raise
        self.signatures: Mapping[str, SignatureDef] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[str, tuple[str, ...]], Callable[..., list[Any]]] = {}
        self._lock = threading.Lock()

    def predict(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Iterable[str] = ()
    ) -> dict[str, np.ndarray]:
        """The signature's outputs, or those of `output_filter`, by name. Raises `ServingError`."""
        signature = self.signature(signature_name)
        _check_inputs(signature, inputs)
        names = tuple(dict.fromkeys(output_filter)) or tuple(sorted(signature.outputs))
        unknown = [name for name in names if name not in signature.outputs]
        if unknown:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {unknown[0]} "
                f"Outputs expected to be in the set {{{','.join(sorted(signature.outputs))}}}.",
            )
        run = self._callable(signature_name, signature, names)
        try:
            values = run(*(inputs[name] for name in sorted(signature.inputs)))
        except tf.errors.OpError as exc:
            raise ServingError(GRPC_CODES[exc.error_code], exc.message) from exc
        return {name: _as_array(value) for name, value in zip(names, values, strict=True)}

    def signature(self, name: str) -> SignatureDef:
        """A signature by its key, the default one for an empty key."""
        signature = self.signatures.get(name or "serving_default")
        if signature is None:
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        return signature

    def close(self) -> None:
        """Give everything back; nobody may call `predict` any more."""
        self._callables.clear()
        self._session.close()

    def _callable(
        self, signature_name: str, signature: SignatureDef, names: tuple[str, ...]
    ) -> Callable[..., list[Any]]:
        """A prepared call, one a set of outputs. As TF Serving's session, it skips what `Session.run` does in Python.

        `Session.make_callable`, the public way to one, falls back on `Session.run` as soon as there are inputs.
        """
        key = (signature_name, names)
        with self._lock:
            if key not in self._callables:
                options = config_pb2.CallableOptions(
                    feed=[signature.inputs[name].name for name in sorted(signature.inputs)],
                    fetch=[signature.outputs[name].name for name in names],
                )
                self._callables[key] = self._session._make_callable_from_options(options)
            return self._callables[key]


def _check_inputs(signature: SignatureDef, inputs: Mapping[str, np.ndarray]) -> None:
    sent, needed = set(inputs), set(signature.inputs)
    if sent != needed:
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"input size does not match signature: {len(sent)}!={len(needed)} len({_set(sent)}) != "
            f"len({_set(needed)}). Sent extra: {_set(sent - needed)}. Missing but required: {_set(needed - sent)}.",
        )
    for name, array in inputs.items():
        wanted = NUMPY_TYPES.get(signature.inputs[name].dtype)
        if wanted is not None and array.dtype != wanted:
            raise ServingError(
                grpc.StatusCode.INVALID_ARGUMENT, f"input {name} is of {array.dtype}; the signature wants {wanted}"
            )


def _as_array(value: Any) -> np.ndarray:
    """TensorFlow gives scalars of strings as bare bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value, dtype=object if isinstance(value, bytes) else None)


def _set(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
