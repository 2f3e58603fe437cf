"""Tensors keep their values, types and shapes, in both encodings."""

import json
from typing import Any

import numpy as np
import pytest

from wsgiapp.errors import InternalError
from wsgiapp.tfserving.messages import TensorProto, types_pb2
from wsgiapp.tfserving.rest_json.answers import columns
from wsgiapp.tfserving.tensors import (
    NUMPY_TYPES,
    TENSORFLOW_TYPES,
    VALUE_FIELDS,
    decode_tensor,
    dtype_name,
    encode_tensor,
)

ARRAYS = [
    np.array([1.5, -2.25, np.nan, np.inf], np.float32),
    np.array([[1.5], [1e300]], np.float64),
    np.array([0.5, 65504], np.float16),
    *(np.array([[np.iinfo(kind).min, np.iinfo(kind).max]], kind) for kind in "bhilBHIL"),
    np.array([True, False]),
    np.array([1 + 2j, -3j], np.complex64),
    np.array([[1 + 2j, -3j]], np.complex128),
    np.array([["中文".encode(), b""], [b"\xff\x00", b"x"]], dtype=object),
    np.zeros((0, 3), np.float32),
    np.array(7, np.int64),
    *(np.resize(np.array([0, 1, 127, 128, 300, 2**31 - 1]), (35, 6)).astype(kind) for kind in "?hilHILfdFD"),
    *(np.resize([-1, 5, -(2**31), 127], (35, 4)).astype(kind) for kind in "hilfdFD"),
    np.asfortranarray(np.arange(210, dtype=np.int64).reshape(70, 3)),
    np.resize(np.array([np.iinfo(np.uint64).max, 0], np.uint64), 70),
    np.resize(np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max]), 70),
    np.zeros(70, np.int32),
    np.array(b"scalar", dtype=object),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
]


def shaped(sizes: list[int], dtype: int = types_pb2.DT_FLOAT, **values: list) -> TensorProto:
    tensor = TensorProto(dtype=dtype, **values)
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


@pytest.mark.parametrize("as_content", [True, False])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_round_trip(array: np.ndarray, as_content: bool) -> None:
    message = TensorProto.FromString(encode_tensor(array, as_content=as_content).SerializeToString())
    decoded = decode_tensor(message)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)


def test_numbers_go_where_they_are_asked_to() -> None:
    array = np.ones(3, np.float32)
    assert encode_tensor(array).tensor_content == array.tobytes()
    assert list(encode_tensor(array, as_content=False).float_val) == [1, 1, 1]


@pytest.mark.parametrize("count", [3, 1000])
def test_the_typed_fields_have_the_values_one_by_one(count: int) -> None:
    def values(array: np.ndarray) -> TensorProto:
        return encode_tensor(np.resize(array, count), as_content=False)

    assert list(values(np.array([1, -2, 3])).int64_val[:3]) == [1, -2, 3]
    assert list(values(np.array([1, -2, 3], np.int8)).int_val[:3]) == [1, -2, 3]
    assert list(values(np.array([0.5, -2], np.float16)).half_val[:2]) == [0x3800, 0xC000]
    assert list(values(np.array([True, False])).bool_val[:2]) == [True, False]
    assert list(values(np.array([1 + 2j], np.complex64)).scomplex_val[:2]) == [1, 2]
    assert len(values(np.arange(3)).int64_val) == len(values(np.array([0.5])).double_val) == count


def test_one_value_stands_for_all_and_the_last_one_is_repeated() -> None:
    tensor = TensorProto(dtype=types_pb2.DT_INT32, int_val=[4, 5])
    tensor.tensor_shape.dim.add(size=4)
    assert decode_tensor(tensor).tolist() == [4, 5, 5, 5]


def test_no_value_at_all_stands_for_zeros() -> None:
    for dtype, value in ((types_pb2.DT_FLOAT, 0.0), (types_pb2.DT_BOOL, False), (types_pb2.DT_STRING, b"")):
        tensor = TensorProto(dtype=dtype)
        tensor.tensor_shape.dim.add(size=2)
        assert decode_tensor(tensor).tolist() == [value, value]


def test_the_tables_have_the_same_types() -> None:
    assert set(NUMPY_TYPES) == set(VALUE_FIELDS)
    assert len(TENSORFLOW_TYPES) == len(NUMPY_TYPES)


def test_what_cannot_be_read_is_rejected() -> None:
    short = TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"\0" * 8)
    short.tensor_shape.dim.add(size=3)
    with pytest.raises(InternalError, match=r"shape \[3\] came with 2 values"):
        decode_tensor(short)
    ragged = TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"\0" * 7)
    ragged.tensor_shape.dim.add(size=2)
    with pytest.raises(InternalError):
        decode_tensor(ragged)
    negative = TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    negative.tensor_shape.dim.add(size=-1)
    with pytest.raises(InternalError):
        decode_tensor(negative)
    with pytest.raises(InternalError, match="DT_RESOURCE"):
        decode_tensor(TensorProto(dtype=types_pb2.DT_RESOURCE))
    with pytest.raises(InternalError, match="datetime64"):
        encode_tensor(np.array(["2026-01-01"], "datetime64[D]"))


def test_a_shape_far_larger_than_its_values_takes_no_memory_first() -> None:
    tensor = TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1.0])
    tensor.tensor_shape.dim.add(size=2**40)
    with pytest.raises(InternalError, match="values"):
        decode_tensor(tensor)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(dtype=999), "type 999"),
        (TensorProto(dtype=types_pb2.DT_VARIANT), "type DT_VARIANT"),
        (TensorProto(dtype=types_pb2.DT_COMPLEX64, scomplex_val=[1.0, 2.0, 3.0]), "3 parts"),
        (shaped([1] * 65, float_val=[1.0]), "65 dimensions"),
        (shaped([0, 2**62, 8]), "dimensions"),
    ],
)
def test_what_no_array_can_be(tensor: TensorProto, message: str) -> None:
    with pytest.raises(InternalError, match=message):
        decode_tensor(tensor)


def test_values_too_large_for_their_type_are_cut_off_as_in_tensorflow() -> None:
    tensor = shaped([3], dtype=types_pb2.DT_INT8, int_val=[300, -129, 5])
    assert decode_tensor(tensor).tolist() == [44, 127, 5]
    assert decode_tensor(shaped([1], dtype=types_pb2.DT_UINT8, int_val=[-1])).tolist() == [255]
    half = shaped([1], dtype=types_pb2.DT_HALF, half_val=[0x13C00])
    assert decode_tensor(half).tolist() == [1.0]


@pytest.mark.parametrize(
    ("dtype", "fields", "values", "kind"),
    [
        (types_pb2.DT_BFLOAT16, {"half_val": [0x3FC0, 0xBE00, 0x7F80]}, [1.5, -0.125, np.inf], np.float32),
        (types_pb2.DT_BFLOAT16, {"tensor_content": b"\xc0\x3f\x00\xbe\x80\x7f"}, [1.5, -0.125, np.inf], np.float32),
        (types_pb2.DT_QUINT8, {"int_val": [0, 128, 255]}, [0, 128, 255], np.uint8),
        (types_pb2.DT_QINT8, {"tensor_content": b"\x00\x7f\x80"}, [0, 127, -128], np.int8),
        (types_pb2.DT_QINT32, {"int_val": [-5, 6, 7]}, [-5, 6, 7], np.int32),
    ],
)  # fmt: skip
def test_types_that_numpy_lacks_are_read_as_the_next_ones(dtype: int, fields: Any, values: Any, kind: type) -> None:
    decoded = decode_tensor(shaped([3], dtype=dtype, **fields))
    assert decoded.dtype == kind and decoded.tolist() == values
    assert json.loads(columns({"y": decoded}))["outputs"] == values


def test_names_of_types_are_tensorflow_s() -> None:
    names = [dtype_name(dtype) for dtype in (types_pb2.DT_FLOAT, types_pb2.DT_STRING, types_pb2.DT_INT64)]
    assert names == ["float", "string", "int64"]
