"""Chinese text, segmented with jieba, for models that take padded rows of words."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np

from wsgiapp.errors import InternalError, InvalidField, TooLarge
from wsgiapp.pipelines.base64text import decode_base64
from wsgiapp.pipelines.list_literal import parse_list
from wsgiapp.pipelines.pipeline import Payload, Prepared, Resources, Result, reject_unknown_options
from wsgiapp.pipelines.segmentation.tokenizer import PIECE_CHARS, load_tokenizer
from wsgiapp.tfserving.tensors import Arrays

Row = list[str]

# Characters of a usual text: hotel reviews have 135 on average.
USUAL_CHARS = 128

# What a character may take where its list is sent as text, quotes, comma and escapes included (`'\U0001F600', `), and
# how much longer base64 is. Whatever is longer holds more than the limit of characters, and is not parsed at all.
BYTES_PER_CHAR = 16
BASE64_FACTOR = 4 / 3
# A number, or a list of one.
NWORDS = re.compile(r"\s*[\[(]?\s*([0-9]{1,9})\s*,?\s*[\])]?\s*")


class SegmentedText:
    """One text (`line`, or segmented already: `words` and optionally `nwords`), or several (`lines`).

    Options: `words` ("words") and `nwords` ("nwords"; names in the signature), `user_dictionary` (a file in jieba's
    format: a word, its frequency and its tag on each line).
    """

    heavy = False

    def __init__(self, options: Mapping[str, Any], resources: Resources) -> None:
        reject_unknown_options(options, {"words", "nwords", "user_dictionary"})
        self._limits = resources.text
        self._pause = resources.pause
        self._words = str(options.get("words", "words"))
        self._nwords = str(options.get("nwords", "nwords"))
        self.padding = {self._words: b""}
        self._user_dictionary = options.get("user_dictionary")
        self._cache = resources.cache

    def warm_up(self) -> None:
        """Open what jieba knows; where it has to be made first, that takes seconds."""
        self._segment_text("预热", int)

    @cached_property
    def _segment_text(self) -> Callable[[str, Callable[[], object]], Row]:
        return load_tokenizer(self._cache, self._user_dictionary).lcut

    def preprocess(self, payload: Payload) -> Prepared:
        """Words as bytes (rows, longest), padded with b"", and their number a row as int32 (rows,)."""
        rows, several = self._rows(payload)
        return Prepared(self._inputs(rows), several)

    def _inputs(self, rows: Sequence[Row]) -> Arrays:
        longest = max(map(len, rows))
        if longest * len(rows) > self._limits.words:
            raise TooLarge(
                "lines",
                f"{len(rows):,} texts of up to {longest:,} words are {longest * len(rows):,} words with their padding; "
                f"the limit is {self._limits.words:,}; send the long ones by themselves",
            )
        words = np.array([_utf8(row) + [b""] * (longest - len(row)) for row in rows], dtype=object)
        nwords = np.array([len(row) for row in rows], np.int32)
        return {self._words: words, self._nwords: nwords}

    def cost(self, payload: Payload) -> float:
        """By the characters of all texts, as they were sent."""
        fields = payload.fields
        value = fields.get("line") or fields.get("lines") or fields.get("words")
        if isinstance(value, list):
            chars = sum(len(each) for each in value[: self._limits.chars + 1] if isinstance(each, str))
        else:
            chars = len(value) if isinstance(value, str) else 0
        return chars / USUAL_CHARS if chars > USUAL_CHARS else 1.0

    def postprocess(self, outputs: Arrays, context: bool) -> Result:
        """Each output's row under the output's name; a list under `results` where several texts were sent."""
        lengths = {array.shape[:1] for array in outputs.values()}
        if len(lengths) != 1 or lengths == {()}:
            raise InternalError("the model's outputs do not have one row for each text")
        results = [{name: _plain(array[i]) for name, array in sorted(outputs.items())} for i in range(lengths.pop()[0])]
        return {"results": results} if context else results[0]

    def examples(self) -> Sequence[Arrays]:
        """Texts of one word, of a sentence and of several, so that padding is put to the test."""
        lines = ("好", "房间很干净，早餐也不错，下次还会来", "前台态度恶劣，空调坏了也没人管。" * 5)
        return [self._inputs([self._segment("line", line)]) for line in lines]

    def _rows(self, payload: Payload) -> tuple[list[Row], bool]:
        """The segmented texts, and whether the client sent a list of texts."""
        fields = payload.fields
        sent = [name for name in ("line", "lines", "words") if name in fields]
        if not sent:
            raise InvalidField("line", "missing; send base64 of UTF-8 text in the URL, or line, lines or words in JSON")
        if len(sent) > 1:
            raise InvalidField(sent[1], f"sent together with {sent[0]}; send one of them")
        if "words" in fields:
            words = self._strings("words", fields["words"], payload.in_url, self._limits.chars)
            _check_nwords(fields.get("nwords"), len(words), payload.in_url)
            return [words], False
        if "lines" in fields:
            lines = self._strings("lines", fields["lines"], payload.in_url, self._limits.rows)
            return list(self._segment_all(lines)), True
        line = self._line(fields["line"], payload.in_url)
        self._check_size("line", [line])
        return [self._segment("line", line)], False

    def _segment_all(self, lines: Row) -> Iterator[Row]:
        chars = 0
        for i, line in enumerate(lines):
            yield self._segment(f"lines[{i}]", line)
            chars += len(line)
            if chars > PIECE_CHARS:
                chars = 0
                self._pause()

    def _segment(self, field: str, text: str) -> Row:
        words = [word for word in self._segment_text(text, self._pause) if not word.isspace()]
        if not words:
            raise InvalidField(field, "empty; there is no text to classify")
        return words

    def _line(self, value: Any, in_url: bool) -> str:
        if not isinstance(value, str):
            raise InvalidField("line", "not a text")
        return self._decode("line", value) if in_url else value

    def _strings(self, field: str, value: Any, in_url: bool, max_items: int) -> Row:
        """A non-empty list of non-blank strings, parsed first where it came as text, within the limits."""
        if isinstance(value, str):
            if in_url and not value.lstrip().startswith(("[", "(")):
                value = self._decode(field, value)
            self._require_short(field, len(value), BYTES_PER_CHAR)
            try:
                value = parse_list(value, self._pause)
            except ValueError as exc:
                raise InvalidField(field, "neither JSON nor a list literal of texts") from exc
        if not isinstance(value, (list, tuple)):
            raise InvalidField(field, "not a list of texts")
        if not value:
            raise InvalidField(field, "empty; there is no text to classify")
        if len(value) > max_items:
            raise TooLarge(field, f"{len(value):,} texts; the limit is {max_items:,}")
        for i, item in enumerate(value):
            if not isinstance(item, str):
                raise InvalidField(f"{field}[{i}]", "not a text")
            if not item or item.isspace():
                raise InvalidField(f"{field}[{i}]", "empty; there is no text to classify")
        self._check_size(field, value)
        return list(value)

    def _decode(self, field: str, encoded: str) -> str:
        """A text from base64."""
        self._require_short(field, len(encoded), BYTES_PER_CHAR * BASE64_FACTOR)
        try:
            return decode_base64(field, encoded).decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as exc:
            raise InvalidField(field, f"not UTF-8 once the base64 is decoded (byte {exc.start})") from exc

    def _require_short(self, field: str, size: int, bytes_per_char: float) -> None:
        if size > bytes_per_char * (self._limits.chars + 1):
            limit = f"more than any text within the limit of {self._limits.chars:,} characters takes"
            raise TooLarge(field, f"{size:,} bytes, which is {limit}")

    def _check_size(self, field: str, texts: Sequence[str]) -> None:
        chars = sum(map(len, texts))
        if chars > self._limits.chars:
            raise TooLarge(field, f"{chars:,} characters; the limit is {self._limits.chars:,}")


def _check_nwords(nwords: Any, length: int, in_url: bool) -> None:
    """`nwords` may be a number, its digits, or a list of one: clients send the model's input as they built it."""
    if nwords is None:
        return
    if isinstance(nwords, list) and len(nwords) == 1:
        nwords = nwords[0]
    if isinstance(nwords, str):
        nwords = _number(nwords, in_url)
    if type(nwords) is not int:
        raise InvalidField("nwords", "not a whole number")
    if nwords != length:
        raise InvalidField("nwords", f"{nwords}, but words has {length}")


def _number(text: str, in_url: bool) -> int | None:
    """The number in a text such as `2`, `[2]` or, in a URL, base64 of these."""
    found = NWORDS.fullmatch(text)
    if found is None and in_url:
        with suppress(InvalidField):
            found = NWORDS.fullmatch(decode_base64("nwords", text[:100]).decode("ascii", "replace"))
    return int(found[1]) if found else None


def _utf8(row: Row) -> list[bytes]:
    try:
        return [word.encode("utf-8") for word in row]
    except UnicodeEncodeError as exc:
        raise InvalidField("words", "holds half a surrogate pair, which is no character") from exc


def _plain(value: Any) -> Any:
    """One row of an output as something that JSON can carry."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_plain(item) for item in value]
    return value
