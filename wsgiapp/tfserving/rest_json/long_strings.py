"""Long strings of JSON, such as a picture in base64, which orjson would take 3 ms a megabyte for at once."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import orjson

from wsgiapp.errors import InvalidField
from wsgiapp.tfserving.rest_json.pieces import Charge, Pause

PLAIN_BYTES = 512 * 1024  # decoded at once, which takes 0.1 ms where all is ASCII
ESCAPED_BYTES = 64 * 1024
MAX_NAME_BYTES = 64 * 1024  # of a member
# A string takes up to three times its length while it is read, then its length; however long it is, that is allowed.
MAX_CHARGED_BYTES = 8 * 2**20
FIRST_CHARACTER = 0x20  # those before it are not allowed in strings (RFC 8259, 7)
QUOTE = ord('"')
# Whole escapes, the two of a character beyond U+FFFF together, and what stands between them.
TOKENS = re.compile(
    rb'(?:[^"\\]++|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\[^u])*+',
    re.DOTALL,
)
HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB]..", re.DOTALL)
ESCAPE_BYTES = 6
AFTER_NAME = re.compile(rb"[ \t\r\n]*:")


class LongString(NamedTuple):
    """What stands in a string from `start` to `end`, where its closing quote is."""

    start: int
    end: int
    text: str


class StringError(ValueError):
    """Raised for what is not JSON in a string; `place` is that in the document."""

    def __init__(self, problem: str, place: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = place


def read_long_string(body: bytes, start: int, pause: Pause, charge: Charge) -> LongString | None:
    """The string that begins at `start`, after its quote; `pause` is called between the pieces, and `charge` with the
    bytes that it takes meanwhile.

    Nothing for a member's name. Raises `StringError`, and `InvalidField` for a name that is too long.
    """
    end = body.find(b'"', start)
    if end < 0:
        raise StringError("unexpected end of data", len(body))
    if body.find(b"\\", start, end) < 0:
        if AFTER_NAME.match(body, end + 1, end + 100):
            _require_short_name(end - start)
            return None
        pieces = _plain(body, start, end)
    else:
        pieces = _escaped(body, start)
    needed = min(len(body) - start, MAX_CHARGED_BYTES)
    charge(needed)
    texts = []
    for read_to, text in pieces:
        end = read_to
        texts.append(text)
        pause()
    if AFTER_NAME.match(body, end + 1, end + 100):
        _require_short_name(end - start)
        return None
    whole = "".join(texts)
    charge(-needed)
    return LongString(start, end, whole)


def _require_short_name(size: int) -> None:
    if size > MAX_NAME_BYTES:
        raise InvalidField("body", f"a name of more than {MAX_NAME_BYTES:,} bytes in its JSON")


def _plain(body: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for at in range(start, end, PLAIN_BYTES):
        piece = body[at : min(at + PLAIN_BYTES, end)]
        if np.frombuffer(piece, np.uint8).min() < FIRST_CHARACTER:
            raise StringError("control character in string", at)
        try:
            text = decoder.decode(piece, final=at + PLAIN_BYTES >= end)
        except UnicodeDecodeError as exc:
            raise StringError("str is not valid UTF-8: surrogates not allowed", at + exc.start) from exc
        yield min(at + PLAIN_BYTES, end), text


def _escaped(body: bytes, start: int) -> Iterator[tuple[int, str]]:
    """Pieces between which no escape and no character is cut; the last one ends at the quote."""
    while True:
        found = TOKENS.match(body, start, start + ESCAPED_BYTES)
        end = found.end() if found else start
        at_quote = end < len(body) and body[end] == QUOTE
        if not at_quote:
            if HIGH_SURROGATE.fullmatch(body, end - ESCAPE_BYTES, end):
                end -= ESCAPE_BYTES
            end = _character_start(body, end)
            if end <= start:
                raise StringError("unexpected end of data", len(body))
        try:
            yield end, orjson.loads(b'"' + body[start:end] + b'"')
        except json.JSONDecodeError as exc:
            raise StringError(exc.msg, start + max(exc.pos - 1, 0)) from exc
        if at_quote:
            return
        start = end


def _character_start(body: bytes, end: int) -> int:
    """`end`, or, if that is within a character of UTF-8, where this begins."""
    for before in range(4):
        if end - before >= len(body) or body[end - before] & 0xC0 != 0x80:
            return end - before
    return end
