"""The hidden Markov model against the one of jieba."""

import random
from pathlib import Path

import jieba.finalseg
import pytest

from wsgiapp.pipelines.segmentation.hmm import cut_unknown
from wsgiapp.pipelines.segmentation.lexicon import Lexicon, load_lexicon


@pytest.fixture(scope="module")
def lexicon(lexicon_cache: Path) -> Lexicon:
    return load_lexicon(lexicon_cache)


def test_the_words_are_jieba_s(lexicon: Lexicon) -> None:
    rng = random.Random(1)
    # Characters that every state knows, and all others, of which whole runs can be impossible and then are ties.
    known = sorted(set.intersection(*(set(table) for table in jieba.finalseg.emit_P.values())))
    every = [chr(code) for code in range(0x4E00, 0x9FD6)]
    for _ in range(20_000):
        alphabet = rng.choice((known, every, [*"aZ09.%-_+#&", *rng.sample(known, 5)]))
        text = "".join(rng.choices(alphabet, k=rng.randint(1, 12)))
        assert cut_unknown(text, lexicon) == list(jieba.finalseg.cut(text)), text


@pytest.mark.parametrize("text", ["賜鼠卞", "鹤榻柄"])
def test_sums_that_differ_in_the_seventh_decimal(lexicon: Lexicon, text: str) -> None:
    """With probabilities that are rounded to six decimals these are cut elsewhere."""
    assert cut_unknown(text, lexicon) == list(jieba.finalseg.cut(text))


def test_a_run_of_ten_thousand_characters(lexicon: Lexicon) -> None:
    text = "鹤榻柄" * 3333
    assert cut_unknown(text, lexicon) == list(jieba.finalseg.cut(text))
