"""What one request may ask of the model server, and how long its answer may be."""

from typing import Any

import numpy as np
import pytest

from wsgiapp.errors import TooLarge
from wsgiapp.tfserving.messages import types_pb2
from wsgiapp.tfserving.rest_json import answers, inputs
from wsgiapp.tfserving.rest_json.examples import read_examples
from wsgiapp.tfserving.rest_json.inputs import read_inputs
from wsgiapp.tfserving.rest_json.limits import TensorLimits

LIMITS = TensorLimits(numbers=6, strings=4, answer_bytes=400)
NUMBERS = {"x": types_pb2.DT_FLOAT}
TEXTS = {"words": types_pb2.DT_STRING, "nwords": types_pb2.DT_INT32}


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [[1, 2, 3], [4, 5, 6]]},
        {"inputs": [[1, 2, 3], [4, 5, 6]]},
        {"inputs": {"x": [1.0] * 6}},
        {"instances": [{"x": [1, 2]}] * 3},
        {"inputs": []},
    ],
)
def test_as_many_numbers_as_are_allowed(document: dict[str, Any]) -> None:
    assert read_inputs(document, NUMBERS, limits=LIMITS)["x"].size in (0, 6)


@pytest.mark.parametrize(
    "document",
    [{"instances": [[1, 2, 3, 4]] * 2}, {"inputs": [[1, 2, 3, 4]] * 2}, {"instances": [{"x": [[1], [2]]}] * 4}],
)
def test_more_numbers_are_not_converted(document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(inputs, "dense")
    with pytest.raises(TooLarge, match=r"^body: 8 numbers for the model; the limit of a request is 6; send fewer rows"):
        read_inputs(document, NUMBERS, limits=LIMITS)


def test_strings_have_a_limit_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"words": ["a", "b"], "nwords": 2}
    assert read_inputs({"instances": [row] * 2}, TEXTS, limits=LIMITS)["words"].shape == (2, 2)
    monkeypatch.delattr(inputs, "dense")
    for document in ({"instances": [row] * 3}, {"inputs": {"words": [["a", "b"]] * 3, "nwords": [2] * 3}}):
        with pytest.raises(TooLarge, match="body: 6 strings for the model; the limit of a request is 4"):
            read_inputs(document, TEXTS, limits=LIMITS)


def test_examples_count_too() -> None:
    read_examples({"examples": [{"a": [1, 2, 3]}] * 2}, limits=LIMITS)
    with pytest.raises(TooLarge, match="5 strings"):
        read_examples({"examples": [{}] * 5}, limits=LIMITS)
    with pytest.raises(TooLarge, match="9 numbers"):
        read_examples({"examples": [{"a": [1, 2, 3]}] * 3}, limits=LIMITS)
    with pytest.raises(TooLarge, match="5 strings"):
        read_examples({"context": {"a": "b"}, "examples": [{"a": ["b", "c"]}] * 2}, limits=LIMITS)


@pytest.mark.parametrize("write", [answers.predictions, answers.columns])
@pytest.mark.parametrize("count", [1, 2])
def test_an_answer_that_is_too_long_is_not_made(write: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PIECE_VALUES", 4)
    monkeypatch.setattr(answers, "PIECE_LINES", 4)
    pauses: list[None] = []
    small = {str(i): np.ones((2, 2), np.float32) for i in range(count)}
    assert write(small, limits=LIMITS) == write(small)
    large = {str(i): np.ones((1000, 2), np.float32) for i in range(count)}
    with pytest.raises(TooLarge, match=r"^answer: it would have more than 400 bytes, which is the limit; send fewer"):
        write(large, lambda: pauses.append(None), LIMITS)
    assert len(pauses) < 60, "it stops there"
