"""Requests written as bytes are those that protobuf would have written, whatever the arrays."""

import numpy as np
import pytest

from wsgiapp.backend.predict_request import LARGE_BYTES, Rows, encode_predict_request
from wsgiapp.errors import InternalError
from wsgiapp.tfserving.messages import ModelSpec, PredictRequest
from wsgiapp.tfserving.tensors import TENSORFLOW_TYPES, encode_tensor

SPEC = ModelSpec(name="模型", signature_name="serving_default", version_label="stable")
LARGE_FLOATS = np.arange(LARGE_BYTES // 4, dtype=np.float32)


def parsed(inputs: dict[str, Rows]) -> PredictRequest:
    return PredictRequest.FromString(encode_predict_request(SPEC, inputs))


def as_message(inputs: dict[str, Rows]) -> PredictRequest:
    request = PredictRequest(model_spec=SPEC)
    for name, rows in inputs.items():
        array = np.concatenate(rows) if isinstance(rows, list) else rows
        request.inputs[name].CopyFrom(encode_tensor(array))
    return request


def random_array(random: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    if dtype.hasobject:
        flat = np.empty(size, dtype=object)
        flat[:] = [random.bytes(int(random.integers(0, 200))) for _ in range(size)]
        return flat.reshape(shape)
    if dtype == np.bool_:
        return random.integers(0, 2, shape).astype(np.bool_)
    # Any bit pattern: compared as bytes, so that NaNs count, too.
    return np.frombuffer(random.bytes(size * dtype.itemsize), dtype).reshape(shape)


def rearranged(random: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """The same kind of array with its memory in another order, or with gaps."""
    match random.integers(4):
        case 0:
            return np.asfortranarray(array)
        case 1:
            return array[::-1] if array.ndim else array
        case 2:
            return array[..., ::2] if array.ndim else array
    return array


@pytest.mark.parametrize("dtype", TENSORFLOW_TYPES, ids=str)
def test_any_array_of_any_type(dtype: np.dtype) -> None:
    random = np.random.default_rng(20)
    for size in (1, 20, 40_000):  # below and above `LARGE_BYTES`
        for _ in range(15):
            dimensions = int(random.integers(0, 5))
            bound = int(size ** (1 / max(1, dimensions))) + 1
            shape = tuple(int(random.integers(0, bound + 1)) for _ in range(dimensions))
            if dtype.hasobject and np.prod(shape) > 2000:
                shape = shape[-1:] if shape[-1] < 2000 else ()
            inputs: dict[str, Rows] = {
                "x": rearranged(random, random_array(random, dtype, shape)),
                "后": random_array(random, np.dtype(np.int32), (3,)),
            }
            assert parsed(inputs) == as_message(inputs)


@pytest.mark.parametrize("dtype", TENSORFLOW_TYPES, ids=str)
@pytest.mark.parametrize("shape", [(4,), (40, 30, 3)])
def test_arrays_follow_one_another(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(21)
    rows: list[np.ndarray] = [
        rearranged(random, random_array(random, dtype, (int(random.integers(0, 4)), *shape))) for _ in range(9)
    ]
    width = min(array.shape[-1] for array in rows)
    rows = [array[..., :width] for array in rows]
    assert parsed({"x": rows}) == as_message({"x": rows})
    assert parsed({"x": rows[:1]}) == as_message({"x": rows[:1]})


@pytest.mark.parametrize(
    "size", [*range(20), *range(120, 140), *range(16_370, 16_390), LARGE_BYTES - 4, LARGE_BYTES, 2**21 - 4, 2**21]
)
def test_every_length_of_a_length(size: int) -> None:
    """A varint takes another byte at 2^7, 2^14 and 2^21, for the content and for each message around it."""
    for name in ("x", "n" * 127, "n" * 128):
        inputs: dict[str, Rows] = {
            name: np.zeros(size, np.uint8),
            "large": LARGE_FLOATS[: LARGE_BYTES // 4 + size % 64],
        }
        assert parsed(inputs) == as_message(inputs)


def test_no_inputs() -> None:
    assert parsed({}) == PredictRequest(model_spec=SPEC)


@pytest.mark.parametrize("factor", [1, LARGE_BYTES])
def test_what_cannot_be_sent(factor: int) -> None:
    def zeros(columns: int, dtype: str) -> np.ndarray:
        return np.zeros((2 * factor, columns), dtype)

    for dtype in (">f4", "datetime64[D]", "U3"):
        with pytest.raises(InternalError, match="no tensor type"):
            parsed({"x": zeros(2, dtype)})
    for other in (zeros(3, "f4"), zeros(2, "f8"), zeros(2, "i4"), np.zeros(2 * factor, "f4")):
        with pytest.raises(InternalError, match="x: its arrays cannot follow one another"):
            parsed({"x": [zeros(2, "f4"), other]})


def test_scalars_do_not_follow_one_another() -> None:
    with pytest.raises(InternalError, match="x: its arrays cannot follow"):
        parsed({"x": [np.array(1.0, np.float32), np.array(2.0, np.float32)]})
