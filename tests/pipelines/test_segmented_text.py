"""Text in every form that clients send it, and what is wrong with it named."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.processes import REPOSITORY
from wsgiapp.errors import InternalError, InvalidField, SettingsError, TooLarge
from wsgiapp.pipelines.pipeline import Payload, Resources, TextLimits
from wsgiapp.pipelines.segmented_text import SegmentedText

WORDS = ["我", "很", "喜欢", "中国银行", "的", "产品"]
LINE = "".join(WORDS)


@pytest.fixture(scope="module")
def pipeline(lexicon_cache: Path) -> SegmentedText:
    limits = TextLimits(chars=100, rows=4)
    made = SegmentedText({}, Resources(text=limits, cache=lexicon_cache))
    made.warm_up()
    return made


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def rows(pipeline: SegmentedText, **fields: Any) -> list[list[str]]:
    in_url = fields.pop("in_url", False)
    inputs = pipeline.preprocess(Payload(fields, in_url=in_url)).inputs
    assert inputs["words"].dtype == object
    assert inputs["nwords"].dtype == np.int32
    return [
        [word.decode() for word in row[:length]] for row, length in zip(inputs["words"], inputs["nwords"], strict=True)
    ]


def test_a_line_is_segmented(pipeline: SegmentedText) -> None:
    assert rows(pipeline, line=LINE) == [WORDS]
    assert rows(pipeline, line=b64(LINE), in_url=True) == [WORDS]
    assert rows(pipeline, line=" 我 \n很\t喜欢 ") == [["我", "很", "喜欢"]]


def test_several_lines_are_padded_to_the_longest(pipeline: SegmentedText) -> None:
    prepared = pipeline.preprocess(Payload({"lines": [LINE, "好"]}))
    assert prepared.inputs["words"].shape == (2, len(WORDS))
    assert prepared.inputs["words"][1].tolist() == ["好".encode()] + [b""] * (len(WORDS) - 1)
    assert prepared.inputs["nwords"].tolist() == [len(WORDS), 1]


@pytest.mark.parametrize("nwords", [None, 6, "6", [6]])
def test_words(pipeline: SegmentedText, nwords: Any) -> None:
    fields = {} if nwords is None else {"nwords": nwords}
    assert rows(pipeline, words=WORDS, **fields) == [WORDS]


@pytest.mark.parametrize(
    "literal", [json.dumps(WORDS), json.dumps(WORDS, ensure_ascii=False), str(WORDS), str(tuple(WORDS))]
)
def test_words_in_a_url(pipeline: SegmentedText, literal: str) -> None:
    assert rows(pipeline, words=literal, in_url=True) == [WORDS]
    assert rows(pipeline, words=b64(literal), in_url=True) == [WORDS]
    assert rows(pipeline, words=literal) == [WORDS]


@pytest.mark.parametrize("nwords", ["6", " 6 ", "[6]", "(6,)", "[ 6 ]", b64("6"), b64("[6]"), 6, [6], ["6"]])
def test_nwords_in_a_url(pipeline: SegmentedText, nwords: Any) -> None:
    assert rows(pipeline, words=str(WORDS), nwords=nwords, in_url=True) == [WORDS]


@pytest.mark.parametrize("nwords", ["", "[]", "[6, 6]", "6.0", "-6", b64("x"), "!", "9" * 5000, "[" * 5000])
def test_nwords_that_make_no_sense(pipeline: SegmentedText, nwords: str) -> None:
    with pytest.raises(InvalidField, match=r"^nwords: not a whole number"):
        rows(pipeline, words=str(WORDS), nwords=nwords, in_url=True)


def test_a_byte_order_mark_is_no_text(pipeline: SegmentedText) -> None:
    assert rows(pipeline, line=b64("\ufeff" + LINE), in_url=True) == [WORDS]
    assert rows(pipeline, words=b64("\ufeff" + json.dumps(WORDS)), in_url=True) == [WORDS]


def test_what_is_longer_than_any_text_within_the_limit_is_not_parsed(
    pipeline: SegmentedText, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list literal of 1 MB took Python's parser 0.6 s and 300 MB."""
    monkeypatch.setattr("wsgiapp.pipelines.segmented_text.parse_list", lambda text: pytest.fail("parsed"))
    monkeypatch.setattr("wsgiapp.pipelines.segmented_text.decode_base64", lambda *arguments: pytest.fail("decoded"))
    for field, value in (
        ("words", "['a', " * 1000),
        ("words", "A" * 3000),
        ("lines", "['a', " * 1000),
        ("line", "A" * 3000),
    ):
        with pytest.raises(TooLarge, match=f"^{field}: .* bytes, which is more than any text within the limit of 100"):
            rows(pipeline, **{field: value}, in_url=True)


@pytest.mark.parametrize("char", ["a", "好", "😀", "\\", '"', "'"])
def test_whatever_is_within_the_limit_is_parsed(pipeline: SegmentedText, char: str) -> None:
    words = [char] * 100
    for text in (str(words), json.dumps(words), json.dumps(words, ensure_ascii=False), ascii(words)):
        assert rows(pipeline, words=text) == [words]
        assert rows(pipeline, words=b64(text), in_url=True) == [words]


def test_python_2_s_literal(pipeline: SegmentedText) -> None:
    assert rows(pipeline, words=b64(r"[u'\u975e\u5e38', u'\u8ba8\u538c']"), in_url=True) == [["非常", "讨厌"]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "line: missing"),
        ({"line": ""}, "line: empty"),
        ({"line": " \n\u3000"}, "line: empty"),
        ({"line": 3}, "line: not a text"),
        ({"line": None}, "line: not a text"),
        ({"line": "a", "words": ["a"]}, "words: sent together with line"),
        ({"lines": []}, "lines: empty"),
        ({"lines": "好"}, "lines: neither JSON nor a list"),
        ({"lines": {"a": 1}}, "lines: not a list"),
        ({"lines": ["好", " "]}, "lines[1]: empty"),
        ({"lines": ["好", 3]}, "lines[1]: not a text"),
        ({"words": []}, "words: empty"),
        ({"words": ["a", ""]}, "words[1]: empty"),
        ({"words": [["a"]]}, "words[0]: not a text"),
        ({"words": "__import__('os')"}, "words: neither JSON nor a list"),
        ({"words": "[__import__('os').system('true')]"}, "words: neither JSON nor a list"),
        ({"words": "[" * 1500}, "words: neither JSON nor a list"),
        ({"words": "{'a': 1}"}, "words: not a list"),
        ({"words": "'a'"}, "words: not a list"),
        ({"words": "['\\ud800']"}, "words: holds half a surrogate"),
        ({"words": ["a"], "nwords": 2}, "nwords: 2, but words has 1"),
        ({"words": ["a"], "nwords": "x"}, "nwords: not a whole number"),
        ({"words": ["a"], "nwords": True}, "nwords: not a whole number"),
        ({"words": ["a"], "nwords": 1.0}, "nwords: not a whole number"),
        ({"words": ["a"], "nwords": [1, 1]}, "nwords: not a whole number"),
    ],
)
def test_a_wrong_field_is_named(pipeline: SegmentedText, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidField) as caught:
        pipeline.preprocess(Payload(fields))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"line": "!!!"}, "line: not base64"),
        ({"line": ""}, "line: empty"),
        ({"line": base64.b64encode("好".encode("gbk")).decode()}, "line: not UTF-8"),
        ({"words": "__import__('os')"}, "words: not base64"),
        ({"words": b64("__import__('os')")}, "words: neither JSON nor a list"),
    ],
)
def test_a_wrong_field_in_a_url_is_named(pipeline: SegmentedText, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidField) as caught:
        pipeline.preprocess(Payload(fields, in_url=True))
    assert str(caught.value).startswith(message)


def test_limits(pipeline: SegmentedText) -> None:
    assert rows(pipeline, line="好" * 100)
    for fields in (
        {"line": "好" * 101},
        {"words": ["好"] * 101},
        {"lines": ["好" * 51, "好" * 50]},
        {"lines": ["好"] * 5},
    ):
        with pytest.raises(TooLarge) as caught:
            pipeline.preprocess(Payload(fields))
        assert caught.value.field == next(iter(fields))


def test_answers(pipeline: SegmentedText) -> None:
    outputs = {
        "softmax": np.array([[0.1, 0.9], [0.7, 0.3]], np.float32),
        "labels": np.array([b"POS", "负".encode()], dtype=object),
        "classes_id": np.array([1, 0], np.int64),
    }
    several = pipeline.postprocess(outputs, True)["results"]
    assert [list(each) for each in several] == [["classes_id", "labels", "softmax"]] * 2
    assert [each["labels"] for each in several] == ["POS", "负"]
    single = pipeline.postprocess({name: array[:1] for name, array in outputs.items()}, False)
    assert (single["classes_id"], single["labels"]) == (1, "POS")
    np.testing.assert_array_equal(single["softmax"], outputs["softmax"][0])
    with pytest.raises(InternalError):
        pipeline.postprocess({**outputs, "extra": np.zeros(3)}, True)
    with pytest.raises(InternalError):
        pipeline.postprocess({"scalar": np.array(1.0)}, False)


def test_options(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"options\.wrods"):
        SegmentedText({"wrods": "x"}, Resources())
    dictionary = tmp_path / "own.txt"
    dictionary.write_text("银行的产品 100000 n\n", encoding="utf-8")
    made = SegmentedText({"words": "w", "nwords": "n", "user_dictionary": str(dictionary)}, Resources(cache=tmp_path))
    made.warm_up()
    inputs = made.preprocess(Payload({"line": LINE})).inputs
    assert [word.decode() for word in inputs["w"][0]] == ["我", "很", "喜欢", "中国", "银行的产品"]
    assert inputs["n"].tolist() == [5]


def test_the_words_are_jieba_s_own_and_only_the_cache_is_written(lexicon_cache: Path, tmp_path: Path) -> None:
    import jieba

    jieba.dt.tmp_dir = str(tmp_path)
    corpus = (REPOSITORY / "README.zh-CN.md").read_text(encoding="utf-8")
    made = SegmentedText({}, Resources(text=TextLimits(chars=10**6), cache=lexicon_cache))
    words = made.preprocess(Payload({"line": corpus})).inputs["words"][0]
    assert [word.decode() for word in words] == [word for word in jieba.lcut(corpus) if not word.isspace()]
    assert [path.name for path in lexicon_cache.iterdir()] == [f"jieba-{jieba.__version__}-00000000.lexicon1"]


def test_half_a_surrogate_pair_is_the_client_s_error() -> None:
    with pytest.raises(InvalidField, match="half a surrogate pair"):
        SegmentedText({}, Resources()).preprocess(Payload({"lines": "['我很\\ud800喜欢']"}))


def test_examples_differ_in_length_whatever_the_limits(lexicon_cache: Path) -> None:
    made = SegmentedText({}, Resources(text=TextLimits(chars=1, rows=1), cache=lexicon_cache))
    widths = [example["words"].shape[1] for example in made.examples()]
    assert widths == [example["nwords"][0] for example in made.examples()]
    assert len(set(widths)) == len(widths) == 3 and max(widths) > 20 * min(widths)


def test_padding_counts(lexicon_cache: Path) -> None:
    limits = TextLimits(chars=1000, rows=100, words=60)
    pipeline = SegmentedText({}, Resources(text=limits, cache=lexicon_cache))
    assert len(rows(pipeline, lines=[LINE] * 10)) == 10
    with pytest.raises(
        TooLarge, match=r"^lines: 11 texts of up to 6 words are 66 words with their padding; the limit is 60"
    ):
        rows(pipeline, lines=[LINE, *["好"] * 10])


def test_long_work_has_pauses(lexicon_cache: Path) -> None:
    pauses: list[None] = []
    pipeline = SegmentedText({}, Resources(cache=lexicon_cache, pause=lambda: pauses.append(None)))
    for fields in ({"line": LINE * 500}, {"lines": [LINE * 20] * 25}, {"words": str(["a"] * 5000)}):
        pauses.clear()
        rows(pipeline, **fields)
        assert len(pauses) >= 4, fields.keys()


@pytest.mark.parametrize(
    ("fields", "cost"),
    [
        ({"line": "好" * 64}, 1.0),
        ({"line": "好" * 1280}, 10.0),
        ({"lines": ["好" * 128] * 3}, 3.0),
        ({"words": ["好"] * 64}, 1.0),
        ({"words": str(["好"] * 256)}, 10.0),
        ({"lines": [7, None]}, 1.0),
        ({"line": {"a": 1}}, 1.0),
        ({}, 1.0),
    ],
)
def test_what_a_request_costs_is_told_by_its_characters(
    pipeline: SegmentedText, fields: dict[str, Any], cost: float
) -> None:
    assert pipeline.cost(Payload(fields)) == pytest.approx(cost, rel=0.01)
