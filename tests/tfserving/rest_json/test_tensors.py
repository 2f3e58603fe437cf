"""JSON values become arrays: every type, to its limits."""

import math
from typing import Any

import numpy as np
import pytest

from wsgiapp.tfserving.messages import types_pb2
from wsgiapp.tfserving.rest_json import pieces, tensors
from wsgiapp.tfserving.rest_json.tensors import NotATensor, dense
from wsgiapp.tfserving.tensors import NUMPY_TYPES, dtype_name

FLOAT, DOUBLE, HALF = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_HALF
INTEGERS = [dtype for dtype, kept in NUMPY_TYPES.items() if kept.kind in "iu"]


def rejected(values: list[Any], dtype: int, text: str) -> None:
    with pytest.raises(NotATensor) as caught:
        dense(values, dtype)
    assert text in str(caught.value)


@pytest.mark.parametrize("dtype", INTEGERS, ids=dtype_name)
def test_integers_are_exact_and_within_their_type(dtype: int) -> None:
    limits = np.iinfo(NUMPY_TYPES[dtype])
    low, high = int(limits.min), int(limits.max)
    assert dense([low, high], dtype).tolist() == [low, high]
    for wrong in (low - 1, high + 1, 1.0, True, "1"):
        rejected([0, wrong], dtype, f"is not of expected type: {dtype_name(dtype)}")


def test_floats_reject_what_they_cannot_represent() -> None:
    for dtype, digits in ((HALF, 11), (FLOAT, 24), (DOUBLE, 53)):
        exact, limit = 2**digits - 1, float(np.finfo(NUMPY_TYPES[dtype]).max)
        numbers = [exact, -exact, 0, -0.0, limit, -limit, float(exact + 2) if dtype != HALF else 1.0]
        wanted = np.array([*numbers, math.nan, -math.inf], NUMPY_TYPES[dtype])
        np.testing.assert_array_equal(dense([*numbers, math.nan, -math.inf], dtype), wanted)
        for wrong in (exact + 1, -exact - 1, *([] if dtype == DOUBLE else [limit * 1.01])):
            text = f"Cannot convert JSON value: {wrong} to {dtype_name(dtype)} without loss of precision."
            rejected([1.5, wrong], dtype, text)
        for wrong in ("1", None, True, {"a": 1}):
            rejected([1.5, wrong], dtype, f"is not of expected type: {dtype_name(dtype)}")


def test_random_arrays_come_back() -> None:
    dice = np.random.default_rng(5)
    for dtype, kept in NUMPY_TYPES.items():
        if kept.kind not in "fiub":
            continue
        for rank in range(5):
            bits = dice.integers(0, 2, (*dice.integers(1, 5, rank), kept.itemsize)).astype(np.uint8)
            array = np.ascontiguousarray(bits).view(kept)[..., 0] if kept.kind != "b" else bits[..., 0].astype(bool)
            got = dense(array.tolist(), dtype)
            assert got.dtype == kept and got.shape == array.shape
            np.testing.assert_array_equal(got, array)


def test_an_error_has_the_place_of_its_item() -> None:
    with pytest.raises(NotATensor) as caught:
        dense([[[1, 2]], [[3, 4]], [[5, "x"]]], FLOAT)
    assert caught.value.item == 2


@pytest.mark.parametrize("shape", [(1000,), (1, 1000), (1000, 1), (2, 500), (10, 10, 10)])
def test_many_values_are_read_in_pieces(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces others run; what is wrong is found where it is."""
    for module in (pieces, tensors):
        monkeypatch.setattr(module, "PIECE_VALUES", 30)
    turns: list[None] = []
    values = np.arange(1000.0).reshape(shape)
    array = dense(values.tolist(), FLOAT, lambda: turns.append(None))
    assert array.dtype == np.float32 and array.shape == shape and len(turns) > 30
    np.testing.assert_array_equal(array, values)
    nested = values.astype(object)
    nested.flat[777] = "x"
    with pytest.raises(NotATensor, match='JSON Value: "x" Type: String is not of expected type: float') as caught:
        dense(nested.tolist(), FLOAT)
    assert caught.value.item == 777 // (1000 // shape[0])
