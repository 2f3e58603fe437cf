"""numpy arrays <-> `TensorProto`, both encodings of it.

TF Serving answers numbers in `float_val`, `int64_val`, ... or in `tensor_content`, depending on how it was started
(`--enable_serialization_as_tensor_content`); the layout is that of `tensorflow/core/framework/tensor.proto`.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from wsgiapp.errors import InternalError
from wsgiapp.tfserving.messages import TensorProto, types_pb2
from wsgiapp.tfserving.wire import field_head, packed_values

# Tensors by the name of an input or output.
Arrays = Mapping[str, np.ndarray]

# DT_* -> numpy dtype. Strings are bytes in object arrays, as TensorFlow itself gives them.
NUMPY_TYPES: Mapping[int, np.dtype[Any]] = {
    types_pb2.DT_FLOAT: np.dtype(np.float32),
    types_pb2.DT_DOUBLE: np.dtype(np.float64),
    types_pb2.DT_HALF: np.dtype(np.float16),
    types_pb2.DT_INT8: np.dtype(np.int8),
    types_pb2.DT_INT16: np.dtype(np.int16),
    types_pb2.DT_INT32: np.dtype(np.int32),
    types_pb2.DT_INT64: np.dtype(np.int64),
    types_pb2.DT_UINT8: np.dtype(np.uint8),
    types_pb2.DT_UINT16: np.dtype(np.uint16),
    types_pb2.DT_UINT32: np.dtype(np.uint32),
    types_pb2.DT_UINT64: np.dtype(np.uint64),
    types_pb2.DT_BOOL: np.dtype(np.bool_),
    types_pb2.DT_COMPLEX64: np.dtype(np.complex64),
    types_pb2.DT_COMPLEX128: np.dtype(np.complex128),
    types_pb2.DT_STRING: np.dtype(object),
}
TENSORFLOW_TYPES: Mapping[np.dtype[Any], int] = {dtype: enum for enum, dtype in NUMPY_TYPES.items()}

VALUE_FIELDS: Mapping[int, str] = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_COMPLEX64: "scomplex_val",
    types_pb2.DT_COMPLEX128: "dcomplex_val",
    types_pb2.DT_STRING: "string_val",
}

# Types that numpy lacks -> the one that is encoded in the same way.
LAYOUTS: Mapping[int, int] = {
    types_pb2.DT_BFLOAT16: types_pb2.DT_HALF,
    types_pb2.DT_QINT8: types_pb2.DT_INT8,
    types_pb2.DT_QUINT8: types_pb2.DT_UINT8,
    types_pb2.DT_QINT16: types_pb2.DT_INT16,
    types_pb2.DT_QUINT16: types_pb2.DT_UINT16,
    types_pb2.DT_QINT32: types_pb2.DT_INT32,
}

# A message of a few bytes may stand for a tensor of this many elements, but not for one that fills the memory.
MAX_REPEATED = 2**26
# Values of a field that are read one by one as fast as all at once.
FEW = 64


def dtype_name(dtype: int) -> str:
    """A `DT_*` type as TensorFlow prints it (`DataTypeString`): float, string, int32."""
    return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()


def encode_tensor(array: np.ndarray, *, as_content: bool = True) -> TensorProto:
    """An array of any shape as a `TensorProto`.

    Object arrays must hold bytes and become DT_STRING. Numbers go to `tensor_content`, which is one copy, or, without
    `as_content`, to the typed `*_val` field. Raises `InternalError` for a dtype TensorFlow has no name for.
    """
    tensor = TensorProto()
    fill_tensor(tensor, array, as_content=as_content)
    return tensor


def fill_tensor(tensor: TensorProto, array: np.ndarray, *, as_content: bool = True) -> None:
    """The same into an empty `tensor`, which may be part of a larger message."""
    dtype = fill_head(tensor, array.dtype, array.shape)
    if dtype == types_pb2.DT_STRING:
        tensor.string_val.extend(array.ravel().tolist())
    elif as_content:
        tensor.tensor_content = array.tobytes()
    else:
        _add_values(tensor, VALUE_FIELDS[dtype], _as_numbers(array, dtype))


def fill_head(tensor: TensorProto, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Set the type and shape of an empty `tensor`; the type as TensorFlow numbers it."""
    enum = TENSORFLOW_TYPES.get(dtype)
    if enum is None:
        raise InternalError(f"no tensor type for a numpy array of {dtype}")
    tensor.dtype = enum
    dims = tensor.tensor_shape.dim
    for size in shape:
        dims.add(size=size)
    return enum


def decode_tensor(tensor: TensorProto) -> np.ndarray:
    """The array of a `TensorProto`; it may be read-only, because it shares the message's memory.

    A `*_val` field shorter than the shape repeats its last value, and an empty one stands for zeros, as TensorFlow
    reads them. bfloat16, which is the upper half of a float32, is read as one, and quantized numbers as integers.
    Raises `InternalError` for an unknown dtype, or when values and shape do not match.
    """
    enum = LAYOUTS.get(tensor.dtype, tensor.dtype)
    dtype = NUMPY_TYPES.get(enum)
    if dtype is None:
        known = types_pb2.DataType.values()
        name = types_pb2.DataType.Name(tensor.dtype) if tensor.dtype in known else str(tensor.dtype)
        raise InternalError(f"cannot read a tensor of type {name}")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = math.prod(shape)
    if tensor.tensor_content:
        if dtype.hasobject or len(tensor.tensor_content) % dtype.itemsize:
            raise InternalError(f"a tensor of {dtype} came with {len(tensor.tensor_content)} bytes of content")
        flat = np.frombuffer(tensor.tensor_content, dtype)
    else:
        flat = _from_values(getattr(tensor, VALUE_FIELDS[enum]), enum, dtype)
        if flat.size < size <= MAX_REPEATED:
            last = flat[-1:] if flat.size else np.full(1, b"" if dtype.hasobject else 0, dtype)
            flat = np.concatenate([flat, np.repeat(last, size - flat.size)])
    if flat.size != size or min(shape, default=0) < 0:
        raise InternalError(f"a tensor of shape {list(shape)} came with {flat.size} values")
    if tensor.dtype == types_pb2.DT_BFLOAT16:
        flat = (flat.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    try:
        return flat.reshape(shape)
    except ValueError as exc:  # more dimensions, or larger ones, than an array can have
        raise InternalError(f"a tensor of {len(shape)} dimensions: {exc}") from exc


def _as_numbers(array: np.ndarray, dtype: int) -> np.ndarray:
    """What stands in the typed field."""
    if dtype == types_pb2.DT_HALF:  # half_val holds the bit patterns
        return array.view(np.uint16)
    if dtype in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128):  # real and imaginary parts in turn
        return np.ascontiguousarray(array).reshape(-1).view(array.real.dtype)
    return array


def _add_values(tensor: TensorProto, field: str, numbers: np.ndarray) -> None:
    if numbers.size <= FEW:
        getattr(tensor, field).extend(numbers.ravel().tolist())
    else:
        packed = packed_values(numbers)
        tensor.MergeFromString(field_head(TensorProto.DESCRIPTOR.fields_by_name[field].number, len(packed)) + packed)


def _from_values(values: Any, enum: int, dtype: np.dtype[Any]) -> np.ndarray:
    if enum == types_pb2.DT_STRING:
        flat = np.empty(len(values), dtype=object)
        flat[:] = values
        return flat
    if enum in (types_pb2.DT_COMPLEX64, types_pb2.DT_COMPLEX128):
        if len(values) % 2:
            raise InternalError(f"a tensor of {dtype} came with {len(values)} parts; a number has two")
        part = np.dtype(np.float32 if enum == types_pb2.DT_COMPLEX64 else np.float64)
        return _numbers(values, part).view(dtype)
    if VALUE_FIELDS[enum] in ("int_val", "half_val"):  # what is too large is cut off, as TensorFlow does
        plain = _numbers(values, np.dtype(np.int32))
        return plain.astype(np.uint16).view(dtype) if enum == types_pb2.DT_HALF else plain.astype(dtype)
    return _numbers(values, dtype)


def _numbers(values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A repeated field as an array. protobuf 7 gives it whole: 2 ns a value instead of 50, but 4 us to begin with."""
    return np.array(values, dtype) if len(values) > FEW else np.fromiter(values, dtype, len(values))
