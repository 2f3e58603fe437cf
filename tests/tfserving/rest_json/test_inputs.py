"""Predict requests become arrays: every rule, every text, and random data against a slow reference."""

# ruff: noqa: E501 - the texts stand as they are sent

import json
import math
import random
from typing import Any

import numpy as np
import pytest

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving.messages import types_pb2
from wsgiapp.tfserving.rest_json.document import parse
from wsgiapp.tfserving.rest_json.inputs import read_inputs

FLOAT, INT32, INT64 = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_INT64
STRING, BOOL = types_pb2.DT_STRING, types_pb2.DT_BOOL


def read(text: str, **inputs: int) -> dict[str, np.ndarray]:
    return read_inputs(parse(text.encode()), inputs)


def expect(arrays: dict[str, np.ndarray], **wanted: Any) -> None:
    assert set(arrays) == set(wanted)
    for name, array in wanted.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


def objects(nested: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(math.prod(shape), object)
    array[:] = nested
    return array.reshape(shape)


def test_rows() -> None:
    expect(read('{"instances": [[1,2],[3,4],[5,6]]}', x=INT32), x=np.array([[1, 2], [3, 4], [5, 6]], np.int32))
    expect(read('{"instances": [1, 2.0, 3, 5.003]}', x=FLOAT), x=np.array([1, 2, 3, 5.003], np.float32))
    expect(read('{"instances": [{"x": 1}, {"x": 2}]}', x=FLOAT), x=np.array([1, 2], np.float32))
    expect(read('{"instances": [[], []]}', x=FLOAT), x=np.zeros((2, 0), np.float32))
    expect(
        read('{"instances": [{"a": [1, 2], "b": "x"}, {"b": "中", "a": [3, NaN]}]}', a=FLOAT, b=STRING),
        a=np.array([[1, 2], [3, np.nan]], np.float32),
        b=objects([b"x", "中".encode()], (2,)),
    )


def test_columns() -> None:
    expect(read('{"inputs": [[1,2],[3,4]]}', x=INT64), x=np.array([[1, 2], [3, 4]]))
    expect(read('{"inputs": {"x": [[1,2],[3,4]]}}', x=INT64), x=np.array([[1, 2], [3, 4]]))
    expect(read('{"inputs": 3}', x=FLOAT), x=np.array(3, np.float32))
    expect(read('{"inputs": []}', x=FLOAT), x=np.zeros(0, np.float32))
    expect(
        read('{"inputs": {"a": 1, "b": [[]], "ignored": "x"}}', a=INT32, b=BOOL),
        a=np.array(1, np.int32),
        b=np.zeros((1, 0), np.bool_),
    )


def test_base64() -> None:
    hello, world = '{"b64": "aGVsbG8="}', '{"b64": "d29y bGQ"}'
    flat = objects([b"hello", b"world"], (2,))
    expect(read(f'{{"instances": [{hello}, {world}]}}', x=STRING), x=flat)
    expect(read(f'{{"instances": [[{hello}], [{world}]]}}', x=STRING), x=flat.reshape(2, 1))
    expect(read(f'{{"instances": [{{"x": {hello}}}, {{"x": {world}}}]}}', x=STRING), x=flat)
    expect(read(f'{{"inputs": {hello}}}', x=STRING), x=objects([b"hello"], ()))
    expect(
        read(f'{{"inputs": {{"x": {hello}, "y": "z"}}}}', x=STRING, y=STRING),
        x=flat[0:1].reshape(()),
        y=objects([b"z"], ()),
    )
    expect(read(f'{{"instances": [{hello}, "b64"]}}', b64=STRING), b64=objects([b"hello", b"b64"], (2,)))
    expect(read('{"inputs": {"b64": ""}}', x=STRING), x=objects([b""], ()))


def test_strings_of_equal_length_stay_bytes() -> None:
    expect(
        read('{"instances": [["ab", "cd"], ["ef", "gh"]]}', x=STRING), x=objects([b"ab", b"cd", b"ef", b"gh"], (2, 2))
    )


ROW = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("text", "inputs", "error"),
    [
        ("{}", {"x": FLOAT}, "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', {"x": FLOAT}, "} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"),
        ('{"instances": {"x": 1}}', {"x": FLOAT}, "} Expecting 'instances' to be an list/array"),
        ('{"instances": []}', {"x": FLOAT}, "} No values in 'instances' array"),
        ('{"instances": [1]}', {"x": FLOAT, "y": FLOAT}, "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map; the inputs are x,y"),
        ('{"instances": [{"b64": "aGk="}]}', {"x": STRING, "y": FLOAT}, "; the inputs are x,y"),
        ('{"instances": [{"x": 1}, [2]]}', {"x": FLOAT}, "Expecting object but got list at item 1 of input list"),
        ('{"instances": [1, {"x": 1}]}', {"x": FLOAT}, "Expecting value/list but got object at item 1 of input list"),
        ('{"instances": [{"x": 1}, {"x": 1, "z": 2}]}', {"x": FLOAT}, ROW.format("1 key: z") + "JSON object: does not have named input: z; the inputs are x"),
        ('{"instances": [{"x": 1, "y": 1}, {"y": 1}]}', {"x": FLOAT, "y": FLOAT}, "Failed to process element: 1 of 'instances' list. JSON object: {\n    \"y\": 1\n} keys must be equal to: x,y"),
        ('{"instances": [[1,2],[3,4],[5,6,7]]}', {"x": INT32}, ROW.format(2) + "Expecting tensor size: 2 but got: 3 (input x)"),
        ('{"instances": [[1,2],[3,4],[[5,6]]]}', {"x": INT32}, ROW.format(2) + "Expecting shape [2] but got: [1,2] (input x)"),
        ('{"instances": [1, [1]]}', {"x": INT32}, ROW.format(1) + "Expecting shape [] but got: [1] (input x)"),
        ('{"instances": [[1], 1]}', {"x": INT32}, ROW.format(1) + "Expecting shape [1] but got: [] (input x)"),
        ('{"instances": [[], [1]]}', {"x": INT32}, ROW.format(1) + "Expecting tensor size: 0 but got: 1 (input x)"),
        ('{"instances": [[[1,2],[3]]]}', {"x": INT32}, ROW.format(0) + "Encountered list at unexpected size: 1 at level: 1 expected size: 2 (input x)"),
        ('{"instances": [[[1,2],3]]}', {"x": INT32}, ROW.format(0) + "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2 (input x)"),
        ('{"instances": [[1,[2]]]}', {"x": INT32}, ROW.format(0) + "Encountered list at unexpected level: 1 expected < 1 (input x)"),
        ('{"instances": [{"x": [1,2]}, {"x": [[3,4]]}]}', {"x": INT32}, ROW.format("1 key: x") + "Expecting shape [2] but got: [1,2]"),
        ('{"instances": [[1,2],["a","b"]]}', {"x": INT32}, ROW.format(1) + 'JSON Value: "a" Type: String is not of expected type: int32 (input x)'),
        ('{"instances": [1, null]}', {"x": FLOAT}, ROW.format(1) + "JSON Value: null Type: Null is not of expected type: float (input x)"),
        ('{"instances": [{"b64": "aGk="}]}', {"x": FLOAT}, 'Type: Object is not of expected type: float (input x)'),
        ('{"instances": [{"b64": "not base64"}]}', {"x": STRING}, ROW.format(0) + "Unable to base64 decode (input x)"),
        ('{"instances": [{"x": {"b64": "a-_b"}}]}', {"x": STRING}, ROW.format("0 key: x") + "Unable to base64 decode"),
        ('{"instances": [["a"], [{"c64": "aGk="}]]}', {"x": STRING}, " not formatted correctly for base64 data (input x)"),
        ('{"instances": [1]}', {"x": STRING}, ROW.format(0) + "JSON Value: 1 Type: Number is not of expected type: string (input x)"),
        ('{"inputs": [1]}', {"x": FLOAT, "y": FLOAT}, "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map; the inputs are x,y"),
        ('{"inputs": {"x": 1}}', {"x": FLOAT, "y": FLOAT}, "Missing named input: y in 'inputs' object."),
        ('{"inputs": {"x": [[1],[2,3]], "y": 1}}', {"x": FLOAT, "y": FLOAT}, "Encountered list at unexpected size: 2 at level: 1 expected size: 1 (input x)"),
        ('{"inputs": {"b64": "%"}}', {"x": STRING}, "Unable to base64 decode (input x)"),
        ('{"inputs": [true, 1]}', {"x": BOOL}, "JSON Value: 1 Type: Number is not of expected type: bool (input x)"),
        ('{"inputs": [1]}', {"x": types_pb2.DT_COMPLEX64}, "to type: complex64 is not supported (input x)"),
        ('{"inputs": [1]}', {"x": types_pb2.DT_BFLOAT16}, "to type: bfloat16 is not supported (input x)"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_errors(text: str, inputs: dict[str, int], error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(text, **inputs)
    assert str(caught.value) == error or (
        error.startswith(("}", ";", " ", "Type", "to ")) and str(caught.value).endswith(error)
    )


# TF Serving's way: one element after the other, by recursion.


class Rejected(Exception):
    pass


def reference_shape(value: Any) -> list[int]:
    if not isinstance(value, list):
        return []
    return [len(value), *(reference_shape(value[0]) if value else [])]


def reference_fill(value: Any, level: int, shape: list[int], flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise Rejected(
                f"JSON Value: {json.dumps(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        if type(value) is not int:
            raise Rejected(f"JSON Value: {json.dumps(value)} Type: String is not of expected type: int32")
        flat.append(value)
        return
    if level >= len(shape):
        raise Rejected(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise Rejected(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for each in value:
        reference_fill(each, level + 1, shape, flat)


def reference_rows(items: list[Any]) -> tuple[list[int], list[int]]:
    values: list[int] = []
    first: tuple[int, list[int]] | None = None
    for place, item in enumerate(items):
        shape, flat = reference_shape(item), []
        try:
            reference_fill(item, 0, shape, flat)
            first = first or (len(flat), shape)
            if len(flat) != first[0]:
                raise Rejected(f"Expecting tensor size: {first[0]} but got: {len(flat)}")
            if shape != first[1]:
                raise Rejected(f"Expecting shape {first[1]} but got: {shape}".replace(", ", ","))
        except Rejected as exc:
            raise Rejected(f"{ROW.format(place)}{exc} (input x)") from None
        values += flat
    assert first is not None
    return [len(items), *first[1]], values


def random_nested(dice: random.Random, shape: list[int]) -> Any:
    if not shape:
        return dice.randrange(-1000, 1000)
    return [random_nested(dice, shape[1:]) for _ in range(shape[0])]


def damage(dice: random.Random, items: list[Any]) -> None:
    """One change somewhere: another length, depth or type."""
    node = items
    while isinstance(inner := dice.choice(node), list) and inner and dice.random() < 0.7:
        node = inner
    place = dice.randrange(len(node))
    old = node[place]
    shorter = old[:-1] if isinstance(old, list) else [old, old]
    node[place] = dice.choice([[old], 7, "a", shorter, [], [[1, 2], [3, 4]]])


def test_random_rows_against_the_reference() -> None:
    dice = random.Random(20)
    rejected = 0
    for round_ in range(3000):
        shape = [dice.randrange(1, 4) for _ in range(dice.randrange(1, 5))]
        items = random_nested(dice, shape)
        if round_ % 3:
            damage(dice, items)
        try:
            wanted = reference_rows(items)
        except Rejected as exc:
            wanted = exc
        try:
            got = read_inputs({"instances": items}, {"x": INT32})["x"]
        except InvalidArgument as exc:
            rejected += 1
            assert repr(str(exc)) == repr(str(wanted)), items  # noqa: PT017 - both ways may reject
        else:
            assert (list(got.shape), got.ravel().tolist()) == wanted, items
    assert rejected > 1000


@pytest.mark.parametrize("depth", [64, 65, 200, 1000])
def test_deep_nesting(depth: int) -> None:
    for key in ("inputs", "instances"):
        text = f'{{"{key}": {"[" * depth}1{"]" * depth}}}'
        if depth <= 64:
            assert read(text, x=FLOAT)["x"].shape == (1,) * depth
        else:
            with pytest.raises(InvalidArgument, match="Encountered list at unexpected level: 64 expected < 64"):
                read(text, x=FLOAT)
