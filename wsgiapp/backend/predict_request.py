"""Predict's requests as bytes, written around the memory of large arrays.

As a message, a picture's 1.2 MB would be copied four times: out of the array, into the tensor, into the request, into
the bytes; and the pictures of several requests would first have to be put together in one array. Here all is copied
once, by one join (measured: 0.07 ms instead of 0.6 to 1.2 ms a picture, 0.17 ms instead of 16 ms for four). What is
small is left to protobuf: a message may be written in pieces one after another, and only the tags and sizes in front
of a large array are made here (see "Encoding" in protobuf's documentation; the fields are those of `predict.proto`
and `tensor.proto`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from wsgiapp.errors import InternalError
from wsgiapp.tfserving.messages import ModelSpec, PredictRequest, TensorProto
from wsgiapp.tfserving.tensors import fill_head, fill_tensor
from wsgiapp.tfserving.wire import field_head

# An input: an array, or arrays that follow one another along their first axis.
Rows = np.ndarray | Sequence[np.ndarray]
Piece = bytes | memoryview

# Bytes from which on an array is worth the detour; it costs 10 us.
LARGE_BYTES = 32 * 1024

INPUTS = PredictRequest.INPUTS_FIELD_NUMBER
KEY, VALUE = 1, 2  # of an entry in any map
TENSOR_CONTENT = TensorProto.TENSOR_CONTENT_FIELD_NUMBER


def encode_predict_request(spec: ModelSpec, inputs: Mapping[str, Rows]) -> bytes:
    """A serialised `PredictRequest`. Arrays are as `tensors.encode_tensor` takes them; a list of them is one input.

    Numbers go to `tensor_content`. Raises `InternalError` for a dtype TensorFlow has no name for, and for arrays that
    cannot follow one another, because their dtypes or the shapes of their rows differ.
    """
    request = PredictRequest(model_spec=spec)
    large: list[Piece] = []
    for name, rows in inputs.items():
        arrays = rows if isinstance(rows, list | tuple) else (rows,)
        if arrays[0].nbytes * len(arrays) >= LARGE_BYTES and not arrays[0].dtype.hasobject:
            large += _entry(name, arrays)
        else:
            fill_tensor(request.inputs[name], arrays[0] if len(arrays) == 1 else _joined(name, arrays))
    return b"".join([request.SerializeToString(), *large])


def _entry(name: str, arrays: Sequence[np.ndarray]) -> list[Piece]:
    """An entry of the map `inputs`, in pieces."""
    tensor = TensorProto()
    fill_head(tensor, arrays[0].dtype, _shape(name, arrays))
    size = sum(array.nbytes for array in arrays)
    key, value = name.encode(), tensor.SerializeToString() + field_head(TENSOR_CONTENT, size)
    start = field_head(KEY, len(key)) + key + field_head(VALUE, len(value) + size) + value
    return [field_head(INPUTS, len(start) + size) + start, *(np.ascontiguousarray(array).data for array in arrays)]


def _shape(name: str, arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Of all arrays together."""
    if len(arrays) == 1:
        return arrays[0].shape
    none = _joined(name, [array[:0] for array in arrays])
    return (sum(map(len, arrays)), *none.shape[1:])


def _joined(name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
    try:
        return np.concatenate(arrays, dtype=arrays[0].dtype, casting="no")
    except (TypeError, ValueError) as exc:
        raise InternalError(f"input {name}: its arrays cannot follow one another: {exc}") from exc
