"""Long strings are read as orjson reads them, mistakes included, in pieces."""

import random

import orjson
import pytest

from wsgiapp.errors import InvalidField
from wsgiapp.tfserving.rest_json import long_strings
from wsgiapp.tfserving.rest_json.long_strings import StringError, read_long_string

PARTS = ["a", "好", "😀", "\\n", '\\"', "\\\\", "\\u597d", "\\ud83d\\ude00", "b" * 9, "\\/", "é"]
MISTAKES = ["\\ud83d", "\\ude00", "\n", "\\x", "\\u12", "\x1f"]


@pytest.mark.parametrize("seed", range(4))
def test_any_string(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    pauses: list[None] = []
    mistakes = 0
    for _ in range(500):
        size = rng.choice([1, 4, 7, 12, 30])
        monkeypatch.setattr(long_strings, "PLAIN_BYTES", size)
        monkeypatch.setattr(long_strings, "ESCAPED_BYTES", size + 11)
        parts = rng.choices(PARTS[: rng.choice([3, len(PARTS)])], k=rng.randint(0, 12))
        if rng.random() < 0.2:
            parts.insert(rng.randint(0, len(parts)), rng.choice(MISTAKES))
        string = "".join(parts).encode()
        if rng.random() < 0.1:
            string = string.replace("好".encode(), b"\xe5\xa5")
        body = b'{"a": "' + string + b'", "b": 1}'
        charged: list[int] = []
        try:
            expected = orjson.loads(body)["a"]
        except orjson.JSONDecodeError:
            mistakes += 1
            with pytest.raises(StringError):
                read_long_string(body, 7, int, charged.append)
            continue
        found = read_long_string(body, 7, lambda: pauses.append(None), charged.append)
        assert found == (7, 7 + len(string), expected)
        assert sum(charged) == 0 and max(charged) > 0
    assert mistakes > 20 and len(pauses) > 1000


def test_the_place_of_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_strings, "PLAIN_BYTES", 10)
    for body in (b'"' + b"a" * 95 + b'\xff"', b'"\\n' + b"a" * 93 + b'\xff"', b'"' + b"a" * 95):
        with pytest.raises(StringError) as caught:
            read_long_string(body, 1, int, int)
        assert caught.value.place == 96 or "surrogates" in str(caught.value)


def test_a_long_name_is_rejected_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[None] = []
    assert read_long_string(b'{"aaa": 1}', 2, int, int) is None, "a short one is left where it is"
    body = b'{"' + b"a" * 70_000 + b'" : 1}'
    with pytest.raises(InvalidField, match="body: a name of more than 65,536 bytes in its JSON"):
        read_long_string(body, 2, lambda: pauses.append(None), int)
    assert not pauses
