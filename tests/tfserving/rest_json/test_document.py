"""Bodies of REST requests: what is read, and the errors of the rest, in TF Serving's texts."""

import json
import math
import pickle
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving.rest_json import document
from wsgiapp.tfserving.rest_json.document import SHOWN_CHARS, kind, parse, shown, signature_name


def test_what_is_not_finite_is_a_number() -> None:
    document = parse(
        b'{"a": [NaN, Infinity, -Infinity, 1], "NaN": "-Infinity and \\u4e2d", "big": 18446744073709551616}'
    )
    assert math.isnan(document["a"][0]) and document["a"][1:] == [math.inf, -math.inf, 1]
    assert document["NaN"] == "-Infinity and 中"
    assert (document["big"], type(document["big"])) == (2.0**64, float)


@pytest.mark.parametrize("also", ["", ', "nan": NaN'], ids=["strict", "with NaN"])
def test_numbers_keep_64_bits(also: str) -> None:
    numbers = [2**64 - 1, 2**63 - 1, -(2**63), 2**53 + 1, -1, 0, 1.5, 1e300, 5e-324]
    assert parse(f'{{"n": {json.dumps(numbers)}{also}}}'.encode())["n"] == numbers
    beyond = parse(f'{{"n": [{2**64}, {-(2**63) - 1}]{also}}}'.encode())["n"]
    assert list(map(type, beyond)) == [float, float]


@pytest.mark.parametrize("also", ["", ', "nan": NaN'], ids=["strict", "with NaN"])
def test_numbers_of_many_digits_are_floats(also: str) -> None:
    digits = "0." + "1" * 5000
    document = parse(f'{{"whole": {"1" * 300}, "part": {digits}, "least": {-(2**63)}{also}}}'.encode())
    assert (document["whole"], document["part"], document["least"]) == (float("1" * 300), float(digits), -(2**63))
    with pytest.raises(InvalidArgument, match="Number too big to be stored in double"):
        parse(f'{{"whole": {"1" * 5000}{also}}}'.encode())


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ('{"a": 1, "a": 2, "b": 3}', {"a": 1, "b": 3}),
        ('{"a" : 1, "a"\n: NaN}', {"a": 1}),
        ('{"a": {"x": [1], "x": [2]}}', {"a": {"x": [1]}}),
        ('{"a": [{"x": 1}, {"x": 2, "x": 3}], "b": 1}', {"a": [{"x": 1}, {"x": 2}], "b": 1}),
        ('{"a": [[{"b64": "QQ"}], [{"b64": "Qg", "b64": "Qw"}]]}', {"a": [[{"b64": "QQ"}], [{"b64": "Qg"}]]}),
        ('{"a": 1, "\\u0061": 2}', {"a": 1}),
        ('{"a": "\\":", "a": "second"}', {"a": '":'}),
        ('{"a": [{"x": 1}, 2, [{"y": 9}]], "b": {}}', {"a": [{"x": 1}, 2, [{"y": 9}]], "b": {}}),
    ],
)  # fmt: skip
def test_of_equal_keys_the_first_counts(body: str, value: object) -> None:
    assert parse(body.encode()) == value


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n", "JSON Parse error: The document is empty. at offset: 0"),
        (b"instances = [1, 2]", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"a": tru}', "JSON Parse error: Invalid value. at offset: 6"),
        (b'{"a": -NaN}', "JSON Parse error: Invalid value. at offset: 6"),
        (b"{1: 2}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": NaN, "b" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 15"),
        (b'{"a":1 "b":2}', "JSON Parse error: Missing a comma or } after an object member. at offset: 7"),
        (b'{"a": [1 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 9"),
        ('{"中": [NaN 2]}'.encode(), "JSON Parse error: Missing a comma or ] after an array element. at offset: 13"),
        (b'{"a":' * 1010 + b"1" + b"}" * 1010, "JSON Parse error: The document is nested too deeply. at offset: 0"),
        (b'{"a": [1, 2', "JSON Parse error: The document ends too early. at offset: 11"),
        (b'{"a": "b', "JSON Parse error: The document ends too early. at offset: 8"),
        (b'{"a": "\\x"}', "JSON Parse error: Invalid escape character in string. at offset: 7"),
        (b'{"a": "\\ud800"}', "JSON Parse error: The surrogate pair in string is invalid. at offset: 7"),
        (b'{"a": NaN, "b": "\\ud800"}', "JSON Parse error: The surrogate pair in string is invalid. at offset: 17"),
        (b'{"a": "\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 0"),
        (b'{"a": 1e999}', "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        (b'{"a": NaN, "b": 1e999}', "JSON Parse error: Number too big to be stored in double. at offset: 16"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON Parse error: Number too big to be stored in double. at offset: 6"),
        (b'{"a": ' + b"[" * 100_000, "JSON Parse error: The document is nested too deeply. at offset: 1030"),
        (b"{} {}", "JSON Parse error: The document root must not be followed by other values. at offset: 3"),
        (b"[1, 2]", "JSON Value: [\n    1,\n    2\n] Is not object"),
        (b"NaN", "JSON Value: NaN Is not object"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_errors(body: bytes, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(body)
    assert str(caught.value) == text


def nested_beside_nan(depth: int) -> bytes:
    return b'{"a": NaN, "b": ' + b"[" * depth + b"]" * depth + b"}"


def test_deep_nesting_beside_nan_is_an_error_too() -> None:
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        parse(nested_beside_nan(5000))
    with suppress(InvalidArgument):  # beyond Python's limit, up to 3.12, and not beyond orjson's
        assert parse(nested_beside_nan(1015)).keys() == {"a", "b"}


def test_signature_names() -> None:
    assert signature_name({}) == ""
    assert signature_name({"signature_name": "x"}) == "x"
    with pytest.raises(InvalidArgument, match="'signature_name' key must be a string value"):
        signature_name({"signature_name": 5})


def test_values_in_errors_are_cut_off() -> None:
    assert shown({"a": [1, "中"]}) == '{\n    "a": [\n        1,\n        "中"\n    ]\n}'
    assert len(shown("x" * 1_000_000)) == len(shown(list(range(1_000_000)))) == SHOWN_CHARS + 3
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep).endswith("...")


def test_kinds() -> None:
    names = [kind(value) for value in (None, True, False, 1, 1.5, "a", [], {})]
    assert names == ["Null", "True", "False", "Number", "Number", "String", "Array", "Object"]


def test_what_an_error_shows_of_a_large_value_is_not_made_of_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Any] = []
    encoder = document._encoder

    class Watched(json.JSONEncoder):
        def iterencode(self, value: Any, _one_shot: bool = False) -> Iterator[str]:
            encoded.append(value)
            return encoder.iterencode(value)

    monkeypatch.setattr(document, "_encoder", Watched())
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    wide = {str(i): {"a": ["b" * 1000] * 1000} for i in range(1000)}
    for value in ("a" * 10**6, ["a" * 10**6], wide, deep, [[1] * 1000] * 1000, {"a" * 10**6: 1}):
        assert shown(value).endswith("...") and len(shown(value)) == SHOWN_CHARS + 3
    assert max(len(pickle.dumps(value)) for value in encoded) < 100_000
    assert shown({"a": [1, "b", None, {"c": 1.5}]}) == json.dumps({"a": [1, "b", None, {"c": 1.5}]}, indent=4)
