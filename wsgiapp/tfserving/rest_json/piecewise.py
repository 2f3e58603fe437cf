"""JSON in pieces, between which the event loop turns.

orjson holds the interpreter's lock while it parses, so that a native thread for it would hold up the event loop just as
long (measured: 77 ms for 1.2 million numbers in 23 MB). So a long document is cut at commas, each piece is completed
with the brackets that are open at its ends, and what the pieces hold is put together.
"""

import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.tfserving.rest_json.cuts import MAX_UNCUT_BYTES, Piece, next_piece
from wsgiapp.tfserving.rest_json.long_strings import LongString, StringError
from wsgiapp.tfserving.rest_json.pieces import Charge, Pause, free, release

Parse = Callable[[bytes], Any]

MAX_PARSED_AT_ONCE = 128 * 1024  # bytes; cutting costs as much again as parsing
# Lists and objects in one document: 16 MB of nothing but `[],` take 0.8 s and 400 MB.
MAX_CONTAINERS = 2**20
MAX_MEMBERS = 2**16  # of one object, whose table of a million takes 20 ms to be enlarged
# Bytes of memory: what is parsed, and the arrays and messages made of it (measured, with CPython 3.11).
LIST_BYTES, OBJECT_BYTES, MEMBER_BYTES, STRING_BYTES, VALUE_BYTES, FLOAT_BYTES = 64, 112, 128, 72, 24, 24
AFTER_COMMA = re.compile(rb"[ \t\r\n]*[\]}]")
CLOSED_BY = {"[": "]", "{": "}"}
# Stands for the member that is open at the beginning of a piece, and for a long string; no client knows it.
OPEN_MEMBER = secrets.token_hex(16)
LONG_STRING = secrets.token_hex(16)
COUNTED_BYTES = 512 * 1024


class PlacedError(json.JSONDecodeError):
    """As of the whole document, of which it holds nothing. `place` is in bytes, the others are in characters."""

    def __init__(self, problem: str, place: int, lines_before: int, column: int, characters_before: int) -> None:
        super().__init__(problem, "", 0)
        self.args = (f"{problem}: line {lines_before + 1} column {column} (char {characters_before})",)
        self.place, self.pos, self.lineno, self.colno = place, characters_before, lines_before + 1, column


def parse_in_pieces(body: bytes, parse: Parse, pause: Pause, charge: Charge = free) -> Any:
    """What `parse` makes of `body`, called with pieces of it; `pause` is called between these, and `charge` with the
    bytes of memory that each of them takes, before it is parsed.

    Raises `TooLarge`, `InvalidField` for a key that stands twice in an object, what `charge` raises, and what `parse`
    raises: of a `json.JSONDecodeError` the place is that in `body`.
    """
    reader = _Reader(body, parse, pause, charge)
    try:
        return reader.read()
    except Exception:
        release(reader.root, pause)
        raise


class _Reader:
    def __init__(self, body: bytes, parse: Parse, pause: Pause, charge: Charge) -> None:
        self.root: Any = None
        self._body = body
        self._parse = parse
        self._pause = pause
        self._charge = charge
        self._open_values: list[Any] = []
        self._brackets = ""
        self._containers = 0

    def read(self) -> Any:
        start = 0
        while True:
            self._pause()
            try:
                piece = next_piece(self._body, start, self._brackets, self._pause, self._charge)
            except StringError as exc:
                raise _placed(exc.problem, exc.place, self._body, self._pause) from exc
            if piece.is_last and piece.end < len(self._body):
                raise self._failure(piece, start)
            self._add(piece, start)
            if piece.is_last:
                return self.root
            start = piece.end + 1

    def _add(self, piece: Piece, start: int) -> None:
        kept = self._brackets[: piece.kept]
        now_open = "" if piece.is_last else kept + "".join(bracket for bracket, _ in piece.opened)
        prefix = _opening(self._brackets)
        suffix = "".join(CLOSED_BY[bracket] for bracket in reversed(now_open)).encode()
        text = _without(piece.strings, self._body, start, piece.end)
        self._count(text)
        try:
            _require_values_at_commas(text, at_start=start > 0, at_end=not piece.is_last)
            value = self._parse(prefix + text + suffix)
        except json.JSONDecodeError as exc:
            place = _place_in_body(exc, piece, start, text, len(prefix))
            raise _placed(exc.msg, place, self._body, self._pause) from exc
        if piece.strings:
            value = _with(piece.strings, value)
        if start:
            _merge(self._open_values, value)
        else:
            self.root = value
        del self._open_values[piece.kept :]
        for bracket_name in piece.opened:
            self._open_values.append(
                _last_of(self._open_values[-1], bracket_name[1]) if self._open_values else self.root
            )
        self._brackets = now_open

    def _failure(self, piece: Piece, start: int) -> Exception:
        """What is wrong with a document that was not read to its end."""
        prefix, text = _opening(self._brackets), _without(piece.strings, self._body, start, piece.end)
        try:
            self._parse(prefix + text)
        except json.JSONDecodeError as exc:
            place = _place_in_body(exc, piece, start, text, len(prefix))
            if place < piece.end - 1:
                return _placed(exc.msg, place, self._body, self._pause)
        return TooLarge("body", f"more than {MAX_UNCUT_BYTES:,} bytes of its JSON are one number, or white space")

    def _count(self, text: bytes) -> None:
        lists, objects, members = text.count(b"["), text.count(b"{"), text.count(b":")
        self._containers += lists + objects
        if self._containers > MAX_CONTAINERS:
            raise TooLarge("body", f"more than {MAX_CONTAINERS:,} lists and objects in its JSON")
        quotes = text.count(b'"')
        strings = max(quotes // 2 - members, 0)
        floats = text.count(b".") + (0 if quotes else text.count(b"e") + text.count(b"E"))
        self._charge(
            lists * LIST_BYTES
            + objects * OBJECT_BYTES
            + members * MEMBER_BYTES
            + strings * STRING_BYTES
            + text.count(b",") * VALUE_BYTES
            + floats * FLOAT_BYTES
        )


def _require_values_at_commas(piece: bytes, *, at_start: bool, at_end: bool) -> None:
    """What the added brackets would hide: a comma with no value before it, or none after it."""
    if (at_start and AFTER_COMMA.match(piece)) or (at_end and piece.rstrip()[-1:] in (b"", b"[", b"{")):
        raise json.JSONDecodeError("unexpected character: a comma without a value", piece.decode("utf-8", "replace"), 0)


def _opening(brackets: str) -> bytes:
    """The text that opens brackets as they are open where a piece begins."""
    if not brackets:
        return b""
    opened = [bracket if bracket == "[" else f'{{"{OPEN_MEMBER}":' for bracket in brackets[:-1]]
    return "".join([*opened, brackets[-1]]).encode()


def _merge(open_values: list[Any], value: Any) -> None:
    """Add what a piece holds to the values that were open at its beginning."""
    for place, container in enumerate(open_values):
        is_innermost = place == len(open_values) - 1
        if isinstance(container, list):
            inner = None if is_innermost else value.pop(0)
            container.extend(value)
        else:
            inner = None if is_innermost else value.pop(OPEN_MEMBER)
            if repeated := container.keys() & value.keys():
                raise InvalidField("body", f"{min(repeated)[:100]!r} stands twice in an object of its JSON")
            if len(container) + len(value) > MAX_MEMBERS:
                raise TooLarge("body", f"more than {MAX_MEMBERS:,} members of one object in its JSON")
            container.update(value)
        value = inner


def _without(strings: tuple[LongString, ...], body: bytes, start: int, end: int) -> bytes:
    """A piece's text, in which something short stands for each of its long strings."""
    if not strings:
        return body[start:end]
    parts = []
    for string in strings:
        parts += [body[start : string.start], LONG_STRING.encode()]
        start = string.end
    return b"".join([*parts, body[start:end]])


def _with(strings: tuple[LongString, ...], value: Any) -> Any:
    """A piece's value with its long strings. There is hardly more than one, nor much else beside it."""
    texts = iter(strings)
    open_values: list[Any] = [[value]]
    root = open_values[0]
    while open_values:
        container = open_values.pop()
        for key, each in list(container.items() if type(container) is dict else enumerate(container)):
            if type(each) is str and LONG_STRING in each:
                before, _, after = each.partition(LONG_STRING)
                container[key] = "".join((before, next(texts).text, after))
            elif type(each) is dict or type(each) is list:
                open_values.append(each)
    return root[0]


def _place_in_body(error: json.JSONDecodeError, piece: Piece, start: int, text: bytes, prefix_bytes: int) -> int:
    """The place, in bytes, of a mistake in a piece's text, in front of which stand the brackets that are open."""
    place = start + len(text.decode("utf-8", "replace")[: max(error.pos - prefix_bytes, 0)].encode())
    for string in piece.strings:
        if place > string.start:
            place += string.end - string.start - len(LONG_STRING)
    return place


def _placed(problem: str, place: int, body: bytes, pause: Pause) -> PlacedError:
    """An error with its place in the whole document, which is read in pieces up to there."""
    lines = characters = 0
    for start in range(0, place, COUNTED_BYTES):
        text = np.frombuffer(body, np.uint8, min(COUNTED_BYTES, place - start), start)
        lines += int(np.count_nonzero(text == ord("\n")))
        characters += int(np.count_nonzero(text & 0xC0 != 0x80))
        pause()
    line_start = body.rfind(b"\n", 0, place) + 1
    column = characters + 1
    if line_start:
        column = len(body[line_start:place].decode("utf-8", "replace")) + 1
    return PlacedError(problem, place, lines, column, characters)


def _last_of(container: Any, name: bytes) -> Any:
    """The value of `container` that is open at a piece's end."""
    return container[-1] if isinstance(container, list) else container[json.loads(name)]
