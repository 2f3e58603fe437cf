"""JSON in pieces is JSON as a whole: the same values, the same mistakes, and pauses in between."""

import json
import random
from contextlib import suppress
from typing import Any

import orjson
import pytest

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.tfserving.rest_json import cuts, pieces, piecewise
from wsgiapp.tfserving.rest_json.document import parse
from wsgiapp.tfserving.rest_json.pieces import release
from wsgiapp.tfserving.rest_json.piecewise import parse_in_pieces

STRINGS = ["a", 'x,y]}{["\\', "好", "", "\\", '\\\\"', '\\"', "b" * 40]
MISTAKES = [b",", b"[", b"]", b"{", b"}", b'"', b"\\", b" ", b"1", b":", b"\n", b"", b",,", b"NaN"]


class Parser:
    """orjson, and what it was given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, piece: bytes) -> Any:
        self.sizes.append(len(piece))
        return orjson.loads(piece)


def some_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth > 5 or kind < 0.35:
        return rng.choice([1, -2.5, True, None, 1e10, *STRINGS])
    if kind < 0.7:
        return [some_value(rng, depth + 1) for _ in range(rng.randint(0, 6))]
    return {rng.choice(STRINGS): some_value(rng, depth + 1) for _ in range(rng.randint(0, 5))}


@pytest.mark.parametrize("seed", range(4))
def test_documents_with_and_without_mistakes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    mistakes = count = 0
    for _ in range(500):
        monkeypatch.setattr(cuts, "PIECE_BYTES", rng.choice([1, 2, 3, 5, 8, 16, 64]))
        ascii_only, indent = rng.random() < 0.5, rng.choice([None, None, 1])
        text = json.dumps(some_value(rng), ensure_ascii=ascii_only, indent=indent).encode()
        for _ in range(rng.choice([0, 0, 1, 2])):
            place = rng.randint(0, len(text))
            text = text[:place] + rng.choice(MISTAKES) + text[place + rng.randint(0, 2) :]
        parser = Parser()
        try:
            expected = orjson.loads(text)
        except orjson.JSONDecodeError:
            mistakes += 1
            with pytest.raises(json.JSONDecodeError):
                parse_in_pieces(text, parser, lambda: None)
        else:
            with suppress(InvalidField):  # where a mistake makes two names one
                assert parse_in_pieces(text, parser, lambda: None) == expected
        count += len(parser.sizes)
    assert mistakes > 50 and count > 2000


def test_a_key_that_stands_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 20)
    text = b'{"a": [' + b"1, " * 100 + b'2], "b": {"c": 1, "d": 2}, "a": 3}'
    with pytest.raises(InvalidField, match="body: 'a' stands twice in an object of its JSON"):
        parse_in_pieces(text, orjson.loads, lambda: None)


def test_no_piece_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces others run, so that this is how long they wait, whatever the processor."""
    monkeypatch.setattr(cuts, "PIECE_BYTES", 1000)
    document = {"instances": [[[i / 7 + j] * 3 for j in range(40)] for i in range(40)], "signature_name": "好"}
    text = orjson.dumps(document)
    parser, turns = Parser(), list[int]()
    assert parse_in_pieces(text, parser, lambda: turns.append(len(parser.sizes))) == document
    assert max(parser.sizes) < 1200
    assert len(parser.sizes) > len(text) / 1100
    assert turns == list(range(len(parser.sizes))), "a pause before each"


def test_a_long_string_is_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 100)
    for string in ("a" * 1000, "," * 1000, '\\",' * 300, "[{" * 500):
        document = {"a": [1, 2], "b": {"c": string, "d": [3] * 100}, "e": [string, 4]}
        parser = Parser()
        assert parse_in_pieces(orjson.dumps(document), parser, lambda: None) == document
        assert len(parser.sizes) > 4


def test_where_a_mistake_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 50)
    text = b'{"a": [\n' + b'"\xe5\xa5\xbd", ' * 100 + b"tru]}"
    with pytest.raises(json.JSONDecodeError) as whole:
        orjson.loads(text)
    with pytest.raises(json.JSONDecodeError) as cut:
        parse_in_pieces(text, orjson.loads, lambda: None)
    assert str(cut.value) == str(whole.value)


def test_numbers_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 50)
    monkeypatch.setattr("wsgiapp.tfserving.rest_json.document.MAX_PARSED_AT_ONCE", 0)
    values = parse(b'{"a": [' + b"1.5, NaN, -Infinity, " * 50 + b"2]}")["a"]
    assert len(values) == 151 and str(values[:4]) == "[1.5, nan, -inf, 1.5]"


@pytest.mark.parametrize("text", [b"[" * 5000, b"[]" * 5000, b"[" * 1100 + b"]" * 1100], ids=["open", "flat", "deep"])
def test_brackets_that_are_no_document(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 50)
    with pytest.raises(json.JSONDecodeError):
        parse_in_pieces(text, orjson.loads, lambda: None)


def test_a_document_of_brackets_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 50)
    monkeypatch.setattr(piecewise, "MAX_CONTAINERS", 1000)
    assert len(parse_in_pieces(b"[" + b"[]," * 998 + b"[]]", orjson.loads, lambda: None)) == 999
    for text in (b"[" + b"[]," * 999 + b"[]]", b"[" + b"{}," * 999 + b"{}]"):
        with pytest.raises(TooLarge, match="body: more than 1,000 lists and objects in its JSON"):
            parse_in_pieces(text, orjson.loads, lambda: None)


def test_a_large_document_is_emptied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_VALUES", 100)
    turns: list[None] = []
    small: dict[str, Any] = {"instances": [1] * 9, "signature_name": "a"}
    release(small, lambda: turns.append(None))
    assert not small and not turns
    uneven = [[1], [[2] * 150 for _ in range(10)], [3] * 2000, *([[4] * 3] * 500)]
    rows = uneven[1]
    large: dict[str, Any] = {"inputs": {"a": uneven, "b": [{"c": [2] * 10} for _ in range(50)]}}
    sizes: list[int] = []
    release(large, lambda: sizes.append(sum(map(len, rows)) + len(uneven)))
    assert not large and not uneven and not any(rows)
    assert len(sizes) > 20 and sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("unit", [b"1", b" "], ids=["digits", "white space"])
def test_what_goes_on_without_a_comma_is_too_large(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 100)
    monkeypatch.setattr(cuts, "MAX_UNCUT_BYTES", 1000)
    parsed = Parser()
    with pytest.raises(TooLarge, match="bytes of its JSON are one number, or white space"):
        parse_in_pieces(b'{"a": [1,0.5' + unit * 100_000 + b"]}", parsed, lambda: None)
    assert sum(parsed.sizes) < 3000


def test_what_is_no_json_is_no_json_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "PIECE_BYTES", 100)
    monkeypatch.setattr(cuts, "MAX_UNCUT_BYTES", 1000)
    for text, place in ((b"x" * 100_000, 0), (b'{"a": [1,' + b" " * 900 + b"x" * 100_000, 909)):
        parsed = Parser()
        with pytest.raises(json.JSONDecodeError) as caught:
            parse_in_pieces(text, parsed, lambda: None)
        assert caught.value.pos == place and sum(parsed.sizes) < 3000
