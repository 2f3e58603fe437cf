"""The signatures of a TensorFlow Lite model on one interpreter, and what runs them.

A model has them in one of three places, tried in this order: in its metadata, where converters of 2020 put them and
where TF Serving looks (`tensorflow/lite/tools/signature/signature_def_util.h`); in its own table of signatures;
nowhere, and its tensors become `serving_default`, as in TF Serving (`tflite_session.cc`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import ml_dtypes
import numpy as np
from google.protobuf.message import DecodeError

from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.servables import runtime
from wsgiapp.modelserver.servables.signatures import PREDICT
from wsgiapp.modelserver.servables.tensors import as_array
from wsgiapp.tfserving.messages import SignatureDef, TensorInfo, types_pb2
from wsgiapp.tfserving.saved_model import DEFAULT_SIGNATURE
from wsgiapp.tfserving.tensors import TENSORFLOW_TYPES, Arrays

Details = Mapping[str, Any]  # what the interpreter says of a tensor

# The interpreter's words for operations that it lacks: others' own, newer ones, and TensorFlow's.
MISSING_OPERATION = ("unresolved custom op", "Didn't find op for builtin opcode", "Select TensorFlow op(s)")
# numpy's types of the interpreter's tensors -> DT_*
DATA_TYPES = {
    **TENSORFLOW_TYPES,
    np.dtype(np.bytes_): types_pb2.DT_STRING,
    np.dtype(ml_dtypes.bfloat16): types_pb2.DT_BFLOAT16,
}
del DATA_TYPES[np.dtype(object)]  # not strings, but what stays inside a model: variables and lists of tensors


@dataclass(frozen=True, slots=True)
class Procedure:
    """One signature on one interpreter; `run` takes and gives the tensors by their aliases.

    `sizes` are the model's own of each input, where -1 is open; a signature of the metadata may say something else.
    """

    signature: SignatureDef
    sizes: Mapping[str, Sequence[int]]
    run: Callable[[Arrays], Arrays]


def procedures(interpreter: Any, stored: Mapping[str, SignatureDef]) -> dict[str, Procedure]:
    """The signatures by their keys; `stored` are those of the model's metadata.

    Memory is allocated for each, so that an operation that is missing is found now and not by the first call. Raises
    what the interpreter raises, and `ServingError` for a tensor that cannot be served.
    """
    if not stored and (keys := sorted(interpreter.get_signature_list())):
        return dict(_of_runners({key: interpreter.get_signature_runner(key) for key in keys}))
    inputs, outputs = _by_name(interpreter.get_input_details()), _by_name(interpreter.get_output_details())
    _allocate(interpreter.allocate_tensors, inputs.values())
    if stored:
        return {key: _of_stored(interpreter, stored[key], inputs, outputs) for key in sorted(stored)}
    inputs, outputs = _without_suffixes(inputs), _without_suffixes(outputs)
    signature = SignatureDef(method_name=PREDICT)
    for ends, entries in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for alias, details in ends.items():
            entries[alias].CopyFrom(_tensor_info(alias, details["name"], details))
    return {DEFAULT_SIGNATURE: Procedure(signature, _sizes(inputs), _on_tensors(interpreter, inputs, outputs))}


def stored_signatures(content: bytes) -> dict[str, SignatureDef]:
    """The signatures in a model's metadata; none in most models. Raises `ValueError` for what cannot be read."""
    try:
        return {key: SignatureDef.FromString(value) for key, value in runtime.lite_stored_signatures(content).items()}
    except DecodeError as exc:
        raise ValueError(f"the signatures in its metadata cannot be parsed: {exc}") from exc


def lacks_operation(exc: Exception) -> bool:
    """Whether the interpreter raised an error because an operation of the model does not exist."""
    return any(words in str(exc) for words in MISSING_OPERATION)


def _of_runners(runners: Mapping[str, Any]) -> Iterator[tuple[str, Procedure]]:
    """The model's own signatures. Two of them may have tensors of one name, but not here."""
    taken: set[str] = set()
    for key, runner in runners.items():
        signature = SignatureDef(method_name=PREDICT)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        for ends, entries in ((inputs, signature.inputs), (outputs, signature.outputs)):
            for alias, details in ends.items():
                name = details["name"] if details["name"] not in taken else f"{key}/{alias}"
                entries[alias].CopyFrom(_tensor_info(alias, name, details))
        taken |= {info.name for info in (*signature.inputs.values(), *signature.outputs.values())}
        _allocate(partial(runtime.lite_allocate, runner), inputs.values())
        yield key, Procedure(signature, _sizes(inputs), _on_runner(runner))


def _of_stored(
    interpreter: Any, stored: SignatureDef, inputs: Mapping[str, Details], outputs: Mapping[str, Details]
) -> Procedure:
    """A signature of the metadata: it was made before the conversion, which may have taken `:0` from the names."""
    signature = SignatureDef()
    signature.CopyFrom(stored)
    ends = []
    for kind, infos, found in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
        for alias, info in infos.items():
            info.name = next((name for name in (info.name, _bare(info.name)) if name in found), info.name)
            if info.name not in found:
                text = f"Signature {kind} {alias} references an unknown tensor: {info.name}"
                raise ServingError(grpc.StatusCode.INTERNAL, text)
        ends.append({alias: found[info.name] for alias, info in infos.items()})
    return Procedure(signature, _sizes(ends[0]), _on_tensors(interpreter, *ends))


def _on_runner(runner: Any) -> Callable[[Arrays], Arrays]:
    def run(arrays: Arrays) -> Arrays:
        return {alias: as_array(value) for alias, value in runner(**_readable(arrays)).items()}

    return run


def _on_tensors(
    interpreter: Any, inputs: Mapping[str, Details], outputs: Mapping[str, Details]
) -> Callable[[Arrays], Arrays]:
    def run(arrays: Arrays) -> Arrays:
        for alias, array in arrays.items():
            interpreter.resize_tensor_input(inputs[alias]["index"], array.shape)
        interpreter.allocate_tensors()
        for alias, array in _readable(arrays).items():
            interpreter.set_tensor(inputs[alias]["index"], array)
        interpreter.invoke()
        return {alias: as_array(interpreter.get_tensor(details["index"])) for alias, details in outputs.items()}

    return run


def _sizes(inputs: Mapping[str, Details]) -> dict[str, Sequence[int]]:
    return {alias: details["shape_signature"].tolist() for alias, details in inputs.items()}


def _allocate(allocate: Callable[[], Any], inputs: Iterable[Details]) -> None:
    """Allocate memory for inputs of the shapes that the model names.

    Where it leaves dimensions open, these are 1, which may be too small for it (a convolution over a sequence): such a
    model is served, and a call brings the real sizes.
    """
    try:
        allocate()
    except RuntimeError as exc:
        if lacks_operation(exc) or all((details["shape_signature"] >= 0).all() for details in inputs):
            raise


def _by_name(tensors: Iterable[Details]) -> dict[str, Details]:
    """Raises `ServingError` for two tensors of one name, as TF Serving does: a request could set one of them only."""
    by_name: dict[str, Details] = {}
    for details in tensors:
        name = details["name"]
        if name in by_name:
            raise ServingError(grpc.StatusCode.ALREADY_EXISTS, f"tensor name: {name} has multiple indices")
        by_name[name] = details
    return by_name


def _without_suffixes(tensors: Mapping[str, Details]) -> dict[str, Details]:
    """Tensors by their names without `:0`; TF Serving's aliases where a model has no signature."""
    count = Counter(map(_bare, tensors))
    return {_bare(name) if count[_bare(name)] == 1 else name: details for name, details in tensors.items()}


def _bare(name: str) -> str:
    return name.partition(":")[0]


def _tensor_info(alias: str, name: str, details: Details) -> TensorInfo:
    kind = np.dtype(details["dtype"])
    if kind not in DATA_TYPES:
        text = f"the tensor {alias} is of a type that cannot be sent ({kind.name}): leave it out of the signature"
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, text)
    info = TensorInfo(name=name, dtype=DATA_TYPES[kind])
    info.tensor_shape.SetInParent()
    for size in details["shape_signature"].tolist():
        info.tensor_shape.dim.add(size=size)
    return info


def _readable(arrays: Arrays) -> Arrays:
    return {alias: _scalar_text(array) if _is_scalar_text(array) else array for alias, array in arrays.items()}


def _is_scalar_text(array: np.ndarray) -> bool:
    return array.dtype == object and array.ndim == 0


def _scalar_text(array: np.ndarray) -> np.ndarray:
    """One string as the interpreter reads it: of a scalar of objects it would read the object's address."""
    text = bytes(array[()])
    return np.ndarray((), dtype=f"S{len(text)}", buffer=text)
