"""Tensors of requests and responses, bfloat16 included, which numpy knows by `ml_dtypes` only."""

import grpc
import ml_dtypes
import numpy as np

from wsgiapp.codec import TENSORFLOW_TYPES, decode_tensor, encode_tensor
from wsgiapp.errors import InternalError
from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.protos import TensorProto, types_pb2

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def dtype_name(dtype: int) -> str:
    """A `DataType` as TensorFlow prints it: float, string, int32."""
    return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()


def decode_input(tensor: TensorProto, name: str) -> np.ndarray:
    """The array of one input. Raises `ServingError` (INVALID_ARGUMENT) that names it."""
    try:
        if tensor.dtype == types_pb2.DT_BFLOAT16:  # half_val and tensor_content hold bit patterns in both types
            return decode_tensor(_retyped(tensor, types_pb2.DT_HALF)).view(BFLOAT16)
        return decode_tensor(tensor)
    except InternalError as exc:
        raise invalid_argument(f"tensor parsing error: {name}: {exc}") from exc


def encode_output(array: np.ndarray, name: str, *, tensor_content: bool) -> TensorProto:
    """One output as a message. Raises `ServingError` (UNIMPLEMENTED) for a dtype that has no encoding here."""
    try:
        if array.dtype == BFLOAT16:
            halves = encode_tensor(array.view(np.float16), as_content=tensor_content)
            return _retyped(halves, types_pb2.DT_BFLOAT16)
        return encode_tensor(array, as_content=tensor_content)
    except InternalError as exc:
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"output {name} cannot be answered: {exc}") from exc


def _retyped(tensor: TensorProto, dtype: int) -> TensorProto:
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.dtype = dtype
    return copy


def array_type(array: np.ndarray) -> str:
    """The name of an array's `DataType`: DT_FLOAT, DT_STRING."""
    dtype = (
        types_pb2.DT_BFLOAT16 if array.dtype == BFLOAT16 else TENSORFLOW_TYPES.get(array.dtype, types_pb2.DT_INVALID)
    )
    return str(types_pb2.DataType.Name(dtype))


def shape_text(array: np.ndarray) -> str:
    """A shape as TensorFlow prints it: [3,1]."""
    return "[" + ",".join(map(str, array.shape)) + "]"
