"""List literals: what Python's own parser reads, without its cost."""

import ast
import random

import pytest

from wsgiapp.pipelines import list_literal
from wsgiapp.pipelines.list_literal import parse_list


@pytest.mark.parametrize(
    "text",
    [
        "['a']",
        "('a',)",
        "('a', 'b',)",
        " [ 'a' , \"b'\" ,\n] ",
        r"[u'\u975e', U'b']",
        r"['\x41\101\n\\\'\"\U0001F600', '\t']",
        r"['é中😀', '\\中']",
        r"['\N{DIGIT ONE}']",
        "['a' 'b']",
        "[b'a']",
        "['''a''']",
        "[1, ['a'], {'b': None}]",
        "('a')",
        "[]",
        "()",
        "['a'] # end",
    ],
)
def test_it_reads_what_python_reads(text: str) -> None:
    expected = ast.literal_eval(text.strip())
    parsed = parse_list(text)
    assert (list(parsed), isinstance(parsed, str)) == (list(expected), isinstance(expected, str))


def test_json_comes_first() -> None:
    assert parse_list('\ufeff["\\u975e", true, null]') == ["非", True, None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "['a'",
        "['a',,]",
        "[,]",
        "['a']]",
        r"['\']",
        r"['\x4']",
        r"['\U00110000']",
        "f('a')",
        "[f'{a}']",
        "['\n']",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever Python says
        parse_list(text)


def test_long_lists_of_strings_are_not_left_to_python_s_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_literal.ast, "literal_eval", lambda text: pytest.fail("Python's parser"))
    words = ["a'b\\n", '"', "好\n", "\x85é😀"] * 1000
    assert parse_list(str(words)) == words
    assert parse_list(ascii(words)) == words
    with pytest.raises(ValueError, match="not a list literal"):
        parse_list(str(words) + " # end")


@pytest.mark.parametrize("seed", range(5))
def test_any_list_of_strings(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        alphabet = rng.choice(["ab", "'\"\\", "\0\n\t\x1f\x7f\x85\xa0é", "好😀\ufeff,[]()u "])
        words = ["".join(rng.choices(alphabet, k=rng.randint(0, 6))) for _ in range(rng.randint(1, 5))]
        for text in (str(words), ascii(words), str(tuple(words))):
            assert list(parse_list(text)) == words
