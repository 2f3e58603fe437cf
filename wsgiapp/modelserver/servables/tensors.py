"""Tensors of requests and responses, also of the types that numpy lacks."""

from collections.abc import Mapping
from typing import Any

import grpc
import ml_dtypes
import numpy as np

from wsgiapp.errors import InternalError
from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import TensorProto, types_pb2
from wsgiapp.tfserving.tensors import LAYOUTS, NUMPY_TYPES, TENSORFLOW_TYPES, decode_tensor, fill_tensor

# Types that numpy lacks -> TensorFlow's numpy types for them.
EXTENDED_TYPES: Mapping[int, np.dtype[Any]] = {
    types_pb2.DT_BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    types_pb2.DT_QINT8: np.dtype([("qint8", np.int8)]),
    types_pb2.DT_QUINT8: np.dtype([("quint8", np.uint8)]),
    types_pb2.DT_QINT16: np.dtype([("qint16", np.int16)]),
    types_pb2.DT_QUINT16: np.dtype([("quint16", np.uint16)]),
    types_pb2.DT_QINT32: np.dtype([("qint32", np.int32)]),
}


def decode_input(tensor: TensorProto, name: str) -> np.ndarray:
    """The array of one input. Raises `ServingError` (INVALID_ARGUMENT) that names it."""
    try:
        if tensor.dtype not in LAYOUTS:
            return decode_tensor(tensor)
        return decode_tensor(_retyped(tensor, LAYOUTS[tensor.dtype])).view(EXTENDED_TYPES[tensor.dtype])
    except InternalError as exc:
        raise invalid_argument(f"{texts.TENSOR_PARSING_ERROR.format(alias=name)}: {exc}") from exc


def fill_output(tensor: TensorProto, array: np.ndarray, dtype: int, name: str, *, tensor_content: bool) -> None:
    """One output, of the signature's `dtype`, into the empty `tensor` of an answer.

    Raises `ServingError` (UNIMPLEMENTED) for a type that has no encoding here.
    """
    try:
        if dtype in LAYOUTS:
            array = array.view(NUMPY_TYPES[LAYOUTS[dtype]])
        fill_tensor(tensor, array, as_content=tensor_content)
        if dtype in LAYOUTS:
            tensor.dtype = dtype
    except InternalError as exc:
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"output {name} cannot be answered: {exc}") from exc


def as_array(value: Any) -> np.ndarray:
    """What TensorFlow gives as an array: it gives scalars of strings as bare bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value, dtype=object if isinstance(value, bytes) else None)


def array_type(array: np.ndarray) -> str:
    """The name of an array's `DataType`: DT_FLOAT, DT_STRING."""
    return str(types_pb2.DataType.Name(TENSORFLOW_TYPES.get(array.dtype, types_pb2.DT_INVALID)))


def shape_text(array: np.ndarray) -> str:
    """A shape as TensorFlow prints it: [3,1]."""
    return "[" + ",".join(map(str, array.shape)) + "]"


def _retyped(tensor: TensorProto, dtype: int) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.dtype = dtype
    return copy
