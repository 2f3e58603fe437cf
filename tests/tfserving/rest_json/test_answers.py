"""Answers: their bytes where TF Serving's printer defines them, their values everywhere."""

# ruff: noqa: E501 - the texts stand as they are sent

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving.messages import ClassificationResult, RegressionResult
from wsgiapp.tfserving.rest_json import answers
from wsgiapp.tfserving.tensors import NUMPY_TYPES


def strings(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_one_output_by_rows() -> None:
    assert answers.predictions({"y": np.array([2.5, 3, 4.5], np.float32)}) == (
        b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'
    )
    assert answers.predictions({"y": np.array([[2.5, 3], [4, 5]], np.float32)}) == (
        b'{\n    "predictions": [[2.5, 3.0], [4.0, 5.0]\n    ]\n}'
    )


def test_several_outputs_by_rows() -> None:
    outputs = {"y": np.array([[1], [2]]), "a": strings(b"x, y", "中".encode()), "z": np.zeros((2, 0))}
    assert answers.predictions(outputs).decode() == (
        """{
    "predictions": [
        {
            "a": "x, y",
            "y": [1],
            "z": []
        },
        {
            "a": "中",
            "y": [2],
            "z": []
        }
    ]
}"""
    )


@pytest.mark.parametrize(
    "shape", [(7,), (1, 300), (300, 1), (3, 1, 100), (1, 1, 5, 60), (20, 5, 3), (2, 0, 3), (0,), (150, 0), ()]
)
@pytest.mark.parametrize("kind", ["f", "i", "O"])
def test_large_answers_are_written_in_pieces(
    shape: tuple[int, ...], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces others run; the bytes are those of the whole."""
    values = np.arange(math.prod(shape)).reshape(shape)
    array = {"f": values / np.float32(3), "i": values, "O": strings(*(b"%d," % i for i in range(values.size)))}[kind]
    array = array.reshape(shape)
    if kind == "f" and array.size:
        array.flat[array.size // 2] = np.nan
    outputs = [{"y": array}, {"y": array, "z_bytes" if kind == "O" else "a": array}]
    by_columns = [answers.columns(each) for each in outputs]
    has_rows = array.ndim > 0 and len(array) > 0
    by_rows = [answers.predictions(each) for each in outputs] if has_rows else []
    monkeypatch.setattr(answers, "PIECE_VALUES", 50)
    monkeypatch.setattr(answers, "PIECE_LINES", 20)
    turns: list[None] = []
    assert [answers.columns(each, lambda: turns.append(None)) for each in outputs] == by_columns
    if has_rows:
        assert [answers.predictions(each, lambda: turns.append(None)) for each in outputs] == by_rows
    assert bool(turns) == (array.size > 20)


def test_columns() -> None:
    assert answers.columns({"y": np.array(2.5)}) == b'{\n    "outputs": 2.5\n}'
    assert answers.columns({"y": np.array([[2.5, 3]], np.float32)}).decode() == (
        """{
    "outputs": [
        [
            2.5,
            3.0
        ]
    ]
}"""
    )
    assert answers.columns({"b": np.array([True]), "a": strings(b"two  spaces")}).decode() == (
        """{
    "outputs": {
        "a": [
            "two  spaces"
        ],
        "b": [
            true
        ]
    }
}"""
    )


def test_results() -> None:
    result = ClassificationResult()
    for scores in ((0.2, 0.7), (1.0, float("nan"))):
        classes = result.classifications.add().classes
        for label, score in zip(("car", 'a "b"'), scores, strict=True):
            classes.add(label=label, score=score)
    result.classifications.add()
    assert answers.classifications(result) == (
        b'{\n    "results": [[["car", 0.2], ["a \\"b\\"", 0.7]], [["car", 1.0], ["a \\"b\\"", NaN]], []\n    ]\n}'
    )
    numbers = RegressionResult()
    for value in (0.2, float("inf"), 42):
        numbers.regressions.add(value=value)
    assert answers.regressions(numbers) == b'{\n    "results": [0.2, Infinity, 42.0]\n}'


def test_an_error() -> None:
    assert answers.error('no "model"\n') == b'{\n    "error": "no \\"model\\"\\n"\n}'


@pytest.mark.parametrize("dtype", [kept for kept in NUMPY_TYPES.values() if kept.kind in "fiub"], ids=str)
def test_every_type_and_rank_keeps_its_values(dtype: np.dtype) -> None:
    dice = np.random.default_rng(3)
    for rank in range(1, 5):
        shape = tuple(dice.integers(1, 5, rank))
        array = dice.integers(0, 256, (*shape, dtype.itemsize)).astype(np.uint8)
        array = array.view(dtype)[..., 0] if dtype.kind != "b" else array[..., 0] > 127
        for outputs in ({"y": array}, {"y": array, "z": array[..., np.newaxis]}):
            rows = json.loads(answers.predictions(outputs))["predictions"]
            columns = json.loads(answers.columns(outputs))["outputs"]
            if len(outputs) > 1:
                rows, columns = [row["y"] for row in rows], columns["y"]
            for got in (rows, columns):
                np.testing.assert_array_equal(np.array(got, object).astype(dtype), array)


def test_floats_are_floats_as_short_as_their_type_allows() -> None:
    body = answers.predictions({"y": np.array([0.1, 3, 1e16, 1e30, -0.0, np.nan, np.inf, -np.inf], np.float32)})
    assert body == b'{\n    "predictions": [0.1, 3.0, 1e+16, 1e+30, -0.0, NaN, Infinity, -Infinity\n    ]\n}'
    kinds = {type(value) for value in json.loads(body)["predictions"]}
    assert kinds == {float}


def test_integers_beyond_2_to_the_53_are_exact() -> None:
    array = np.array([2**63 - 1, -(2**63), 2**53 + 1])
    assert json.loads(answers.predictions({"y": array}))["predictions"] == array.tolist()


def test_bytes() -> None:
    named = {"image_bytes": strings(b"hello", b"world").reshape(2, 1)}
    assert json.loads(answers.predictions(named)) == {"predictions": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}
    assert json.loads(answers.columns({"s": strings(b"ok", b"\xff")})) == {
        "outputs": [{"b64": "b2s="}, {"b64": "/w=="}]
    }
    two = {"a_bytes": strings(b"hello"), "b": strings(b"hello")}
    assert json.loads(answers.predictions(two)) == {"predictions": [{"a_bytes": {"b64": "aGVsbG8="}, "b": "hello"}]}


@pytest.mark.parametrize(
    ("outputs", "error"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": np.array(1)}, "Tensor name: y has no shape information "),
        ({"y": np.zeros((0, 2))}, "Tensor name: y has invalid batch size: 0"),
        ({"a": np.zeros(2), "b": np.zeros(1)}, "Tensor name: b has inconsistent batch size: 1 expecting: 2"),
        ({"y": np.zeros(2, np.complex64)}, "Failed to write JSON value for tensor type: complex64"),
    ],
)
def test_errors(outputs: dict[str, np.ndarray], error: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{error}$"):
        answers.predictions(outputs)


def test_results_of_nothing() -> None:
    with pytest.raises(InvalidArgument, match="Cannot convert empty ClassificationResults to JSON"):
        answers.classifications(ClassificationResult())
    with pytest.raises(InvalidArgument, match="Cannot convert empty RegressionResults to JSON"):
        answers.regressions(RegressionResult())
    with pytest.raises(InvalidArgument, match="Cannot convert empty tensor map to JSON"):
        answers.columns({})


# rapidjson's PrettyWriter, by recursion: the bytes for any shape.


def pretty(value: Any, depth: int, single_line: bool) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    if not value:
        return "[]"
    inner = [pretty(each, depth + 1, single_line) for each in value]
    if single_line:
        return f"[{', '.join(inner)}]"
    indent = "    " * (depth + 1)
    return "[\n" + ",\n".join(indent + each for each in inner) + "\n" + indent[4:] + "]"


def test_random_shapes_against_the_reference() -> None:
    dice = random.Random(8)
    for _ in range(300):
        shape = [dice.randrange(1, 4)] + [dice.randrange(4) for _ in range(dice.randrange(4))]
        array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
        words = np.array([f"w {i}".encode() for i in range(array.size)] + [b""], object)[:-1].reshape(shape)
        for tensor in (array, words):
            nested = array.tolist() if tensor is array else json.loads(json.dumps(words.tolist(), default=bytes.decode))
            rows = ", ".join(pretty(row, 2, True) for row in nested)
            assert answers.predictions({"y": tensor}).decode() == f'{{\n    "predictions": [{rows}\n    ]\n}}'
            assert answers.columns({"y": tensor}).decode() == f'{{\n    "outputs": {pretty(nested, 1, False)}\n}}'
            both = ",".join(
                f'\n        {{\n            "a": {pretty(row, 3, True)},\n            "y": {pretty(row, 3, True)}\n        }}'
                for row in nested
            )
            assert (
                answers.predictions({"y": tensor, "a": tensor}).decode() == f'{{\n    "predictions": [{both}\n    ]\n}}'
            )
