"""Segmentation against plain jieba, which is always right."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import jieba
import pytest

from support.processes import REPOSITORY
from wsgiapp.pipelines.segmentation import hmm, tokenizer
from wsgiapp.pipelines.segmentation.tokenizer import MAX_CACHED_RUN, load_tokenizer

Lcut = Callable[[str], list[str]]

# What texts are made of. Each is an alphabet from which a piece of some characters is drawn.
ALPHABETS: dict[str, Iterable[str]] = {
    "Chinese": [*map(chr, range(0x4E00, 0xA000))],
    "Chinese in no model": [*map(chr, range(0x9FC0, 0xA000))],
    "rare": [*map(chr, range(0x3400, 0x4E00)), *map(chr, range(0xF900, 0xFB00)), *map(chr, range(0x20000, 0x323B0))],
    "ASCII words": "abcxyzABCXYZ0123456789",
    "joined": "0123456789abcXYZ.-_%+#&",
    "ASCII": [*map(chr, range(0x80))],
    "blank": " \t\r\n\v\f\x1c\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000\ufeff\u200b",
    "punctuation": "，。！？、；：“”‘’（）《》…—·～",
    "full width": [*map(chr, range(0xFF00, 0xFFF0))],
    "kana": [*map(chr, range(0x3040, 0x3100))],
    "Hangul": [*map(chr, range(0xAC00, 0xD7A4))],
    "other letters": "éßñøžÄÆαβγωДжйאבגابتกขค٣४０１",
    "combining": [*map(chr, range(0x300, 0x370))],
    "emoji": "😀😂👍🏽👨‍👩‍👧❤️🇨🇳☕️✨1️⃣",
    "any": [*map(chr, range(0xD800)), *map(chr, range(0xE000, 0x110000, 7))],
    "half a pair": [*map(chr, range(0xD800, 0xE000))],
}


@pytest.fixture(scope="module")
def fast(lexicon_cache: Path) -> Lcut:
    return load_tokenizer(lexicon_cache).lcut


def test_generated_texts(plain: jieba.Tokenizer, fast: Lcut) -> None:
    rng = random.Random(1)
    words = rng.sample([word for word, frequency in plain.FREQ.items() if frequency], 20_000)
    common = sorted(plain.FREQ, key=lambda word: -plain.FREQ[word])[:1000]
    alphabets = [words, common, [word for word in common if len(word) == 1], *map(list, ALPHABETS.values())]
    for _ in range(10_000):
        pieces = []
        for _ in range(rng.randint(1, 8)):
            pieces += rng.choices(rng.choice(alphabets), k=rng.randint(1, 6))
        text = "".join(pieces)
        assert fast(text) == plain.lcut(text), ascii(text)


def test_real_texts(plain: jieba.Tokenizer, fast: Lcut) -> None:
    corpus = REPOSITORY / "scripts/models/lstm/corpus"
    files = [
        *corpus.glob("*.t[xs][tv]"),
        *corpus.glob("*.py"),
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/**/*.md"),
    ]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]
    assert len(lines) > 3000
    for line in lines:
        assert fast(line) == plain.lcut(line), line
    text = "".join(lines)
    assert fast(text) == plain.lcut(text)


def test_words_of_all_parts_of_the_dictionary(plain: jieba.Tokenizer, fast: Lcut) -> None:
    words = [word for word, frequency in plain.FREQ.items() if frequency][::8]
    assert len(words) > 43_000
    for start in range(0, len(words), 10):  # a comma ends words as it does in a text
        text = "，".join(words[start : start + 10])
        assert fast(text) == plain.lcut(text), text


@pytest.mark.parametrize("length", [MAX_CACHED_RUN, MAX_CACHED_RUN + 1, 500])
def test_runs_of_single_characters(plain: jieba.Tokenizer, fast: Lcut, length: int) -> None:
    run = ("賜鼠卞鹤榻柄" * length)[:length]
    for text in (run, run, run[::-1], "x" * length, "1-2.5" * length):
        assert fast(text) == plain.lcut(text)


@pytest.mark.parametrize(
    "entries",
    [
        # jieba's own documentation, and what is not Chinese alone
        "\ufeff云计算\n李小福 2 nr\neasy_install 3 eng\n好用 300\n八一双鹿 3 nz\n台中\n凱特琳 nz\nEdu Trust认证 2000\n"
        "iphone 1000\n4k\n3-5 99 m\nγ射线 9\n𠮷野家 100\n10% 5\n\n   c++11   \n银行的产品 100000 n\n",
        # other frequencies for jieba's own words, and equal sums
        "中国 1\n的 0\n我们\n喜欢 0\n鑫鑫 500\n鑫鑫焱 500\n焱淼 700\n淼 700\n鑫鑫焱淼 0\n",
    ],
    ids=["added words", "other frequencies"],
)
def test_user_dictionaries(
    tmp_path: Path, plain: jieba.Tokenizer, monkeypatch: pytest.MonkeyPatch, entries: str
) -> None:
    # jieba keeps words of frequency 0 for all tokenizers of a process; the model's word for 喜欢 is one of them
    monkeypatch.setattr(jieba.finalseg, "Force_Split_Words", set())
    dictionary = tmp_path / "own.txt"
    dictionary.write_text(entries, encoding="utf-8")
    expected = jieba.Tokenizer()
    expected.FREQ, expected.total, expected.initialized = dict(plain.FREQ), plain.total, True
    expected.load_userdict(str(dictionary))
    made = load_tokenizer(tmp_path, str(dictionary))
    rng = random.Random(1)
    pieces = [*entries.split(), *"我很喜欢中国银行的产品和云计算，x1-", "Edu Trust认证", "八一双鹿"]
    for _ in range(500):
        text = "".join(rng.choices(pieces, k=10))
        assert made.lcut(text) == expected.lcut(text), text


def test_long_texts_have_pauses_and_the_same_words(
    fast: Lcut, lexicon_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(2)
    chinese = [*ALPHABETS["Chinese"]]
    texts = [
        "".join(rng.choices(chinese, k=300)),
        *(text * 300 for text in ("的", "中华人民共和国", "好，", "a", "龘")),
    ]
    expected = [fast(text) for text in texts]
    monkeypatch.setattr(tokenizer, "PIECE_CHARS", 20)
    monkeypatch.setattr(hmm, "PIECE_CHARS", 20)
    pauses: list[None] = []
    for text, words in zip(texts, expected, strict=True):
        pauses.clear()
        assert load_tokenizer(lexicon_cache).lcut(text, lambda: pauses.append(None)) == words
        assert len(pauses) >= len(text) // 25, text[:5]
