"""The hidden Markov model against the one of jieba."""

import random

import jieba.finalseg
import pytest

from wsgiapp.pipelines.hmm import HiddenMarkovModel


@pytest.fixture(scope="module")
def model() -> HiddenMarkovModel:
    return HiddenMarkovModel()


def test_the_words_are_jieba_s(model: HiddenMarkovModel) -> None:
    rng = random.Random(1)
    # Characters that every state knows, and all others, of which whole runs can be impossible and then are ties.
    known = sorted(set.intersection(*(set(table) for table in jieba.finalseg.emit_P.values())))
    every = [chr(code) for code in range(0x4E00, 0x9FD6)]
    ascii_characters = "aZ09.%-_+#&"
    for _ in range(20_000):
        alphabet = rng.choice((known, every, [*ascii_characters, *rng.sample(known, 5)]))
        text = "".join(rng.choices(alphabet, k=rng.randint(1, 12)))
        assert model.cut(text) == list(jieba.finalseg.cut(text)), text


@pytest.mark.parametrize("text", ["賜鼠卞", "鹤榻柄"])
def test_sums_that_differ_in_the_seventh_decimal(model: HiddenMarkovModel, text: str) -> None:
    """With probabilities that are rounded to six decimals these are cut elsewhere."""
    assert model.cut(text) == list(jieba.finalseg.cut(text))


def test_a_long_run_takes_linear_time(model: HiddenMarkovModel) -> None:
    """jieba copies the whole path for every character: ten thousand of them take it two seconds."""
    text = "鹤榻柄" * 3333
    words = model.cut(text)
    assert "".join(words) == text
    assert words[:3000] == model.cut(text[:9000])[:3000]
