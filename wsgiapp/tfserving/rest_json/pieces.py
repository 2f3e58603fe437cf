"""JSON in pieces, between which the event loop turns.

orjson holds the interpreter's lock while it parses, so that a native thread for it would hold up the event loop just as
long (measured: 77 ms for 1.2 million numbers in 23 MB). So a long document is cut at commas, each piece is completed
with the brackets that are open at its ends, and what the pieces hold is put together.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from wsgiapp.errors import TooLarge

Pause = Callable[[], object]
Parse = Callable[[bytes], Any]

MAX_PARSED_AT_ONCE = 128 * 1024  # bytes; cutting costs as much again as parsing
PIECE_BYTES = 64 * 1024
PIECE_VALUES = 32 * 1024  # of a list, where it is converted
MAX_DEPTH = 1024  # of orjson
# Lists and objects in one document: 16 MB of nothing but `[],` take 0.8 s and 400 MB.
MAX_CONTAINERS = 2**20
QUOTE, COMMA, OPENING, CLOSING = b'",{}'
LOWER_CASE = 0x20  # the bit by which "[" and "{" differ, and "]" and "}"
AFTER_COMMA = re.compile(rb"[ \t\r\n]*[\]}]")
CLOSED_BY = {"[": "]", "{": "}"}
# Stands for the member that is open at the beginning of a piece; no client knows it.
OPEN_MEMBER = secrets.token_hex(16)


class _Cut(NamedTuple):
    """Where a piece ends: before a comma, inside of brackets."""

    end: int
    kept: int  # how many of the brackets that were open at the piece's beginning are open all through it
    opened: list[tuple[str, bytes]]  # those opened after them: the bracket, and the text of its member's name


def no_pause() -> None:
    """For who has nobody to give way to."""


def pieces_of(values: list[Any], pause: Pause, size: int = 0) -> Iterator[list[Any]]:
    """A list in pieces of `size`, or `PIECE_VALUES`, with a pause before each but the first; a short one as it is."""
    size = size or PIECE_VALUES
    if len(values) <= size:
        yield values
        return
    for start in range(0, len(values), size):
        if start:
            pause()
        yield values[start : start + size]


def paused(values: list[Any], pause: Pause) -> Iterator[tuple[int, Any]]:
    """As `enumerate`, with pauses."""
    return enumerate(value for piece in pieces_of(values, pause) for value in piece)


def release(value: Any, pause: Pause) -> None:
    """Empty a large document in pieces: it takes 15 ms to free a million numbers, else all at once."""
    if isinstance(value, dict):
        for each in value.values():
            release(each, pause)
    elif isinstance(value, list) and value:
        size = _estimated_size(value[0])
        if size * len(value) <= PIECE_VALUES:
            return
        while size > PIECE_VALUES and value:
            release(value.pop(), pause)
        while value:
            del value[-max(1, PIECE_VALUES // size) :]
            pause()


def _estimated_size(value: Any) -> int:
    """Values in a value, if all that is nested in it is alike."""
    size = 1
    while isinstance(value, (list, dict)) and value:
        size *= len(value)
        value = value[0] if isinstance(value, list) else next(iter(value.values()))
    return size


def parse_in_pieces(body: bytes, parse: Parse, pause: Pause) -> Any:
    """What `parse` makes of `body`, called with pieces of it; `pause` is called between these.

    Raises `TooLarge`, and what `parse` raises: of a `json.JSONDecodeError` the place is that in `body`.
    """
    brackets = ""
    open_values: list[Any] = []
    root: Any = None
    start = containers = 0
    while True:
        cut = _find_cut(body, start, brackets, pause)
        end = len(body) if cut is None else cut.end
        now_open = "" if cut is None else brackets[: cut.kept] + "".join(bracket for bracket, _ in cut.opened)
        prefix = _opening(brackets)
        suffix = "".join(CLOSED_BY[bracket] for bracket in reversed(now_open)).encode()
        piece = body[start:end]
        containers += piece.count(b"[") + piece.count(b"{")
        if containers > MAX_CONTAINERS:
            raise TooLarge("body", f"more than {MAX_CONTAINERS:,} lists and objects in its JSON")
        try:
            _require_values_at_commas(piece, at_start=start > 0, at_end=cut is not None)
            value = parse(prefix + piece + suffix)
        except json.JSONDecodeError as exc:
            raise _placed(exc, body, start, prefix) from exc
        if start:
            _merge(open_values, value)
        else:
            root = value
        if cut is None:
            return root
        del open_values[cut.kept :]
        for bracket_name in cut.opened:
            open_values.append(_last_of(open_values[-1], bracket_name[1]) if open_values else root)
        brackets, start = now_open, end + 1
        pause()


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
            container.update(value)
        value = inner


def _placed(error: json.JSONDecodeError, body: bytes, start: int, prefix: bytes) -> json.JSONDecodeError:
    """A piece's error, with its place in the whole."""
    before = len(body[:start].decode("utf-8", "replace"))
    return json.JSONDecodeError(error.msg, body.decode("utf-8", "replace"), before + max(error.pos - len(prefix), 0))


def _last_of(container: Any, name: bytes) -> Any:
    """The value of `container` that is open at a piece's end."""
    return container[-1] if isinstance(container, list) else container[json.loads(name)]


class _Marks:
    """The brackets and commas of a piece, window by window: where they are, and how deep it is from there."""

    def __init__(self, depth: int) -> None:
        self.lowest = self.depth = depth
        self.count = 0
        self._windows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, marks: np.ndarray, opens: np.ndarray, depths: np.ndarray) -> None:
        self._windows.append((marks, opens, depths))
        self.count += len(marks)
        if len(depths):
            self.lowest = min(self.lowest, int(depths.min()))
            self.depth = int(depths[-1])

    def openers(self, start: int, kept: int) -> Iterator[tuple[int, int]]:
        """Where each bracket that is open now, after the `kept` outermost, stands, and what is before its name."""
        marks, opens, depths = map(np.concatenate, zip(*self._windows, strict=True))
        places = np.flatnonzero(opens)
        last = np.full(int(depths.max(initial=0)) + 1, -1)
        last[depths[places]] = places  # of several for one depth numpy keeps the last
        for level in range(kept + 1, self.depth + 1):
            place = int(last[level])
            yield int(marks[place]), int(marks[place - 1]) + 1 if place else start


def _find_cut(body: bytes, start: int, brackets: str, pause: Pause) -> _Cut | None:
    """The end of a piece of about `PIECE_BYTES`, or of more with a long string; `None` where it is the body's."""
    found = _Marks(len(brackets))
    at, in_string = start, False
    while at + PIECE_BYTES < len(body) and found.depth <= MAX_DEPTH and found.count <= MAX_CONTAINERS:
        text = body[at : at + PIECE_BYTES]
        if (len(text) - len(text.rstrip(b"\\"))) % 2:
            text = body[at : at + PIECE_BYTES + 1]
        if b"\\" in text:  # an escaped quote ends no string
            text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        chars = np.frombuffer(text, np.uint8)
        within = np.logical_xor.accumulate(chars == QUOTE) ^ in_string
        kinds = chars | LOWER_CASE
        marks = np.flatnonzero(((kinds == OPENING) | (kinds == CLOSING) | (chars == COMMA)) & ~within)
        commas, opens = chars[marks] == COMMA, kinds[marks] == OPENING
        depths = np.cumsum(np.where(commas, 0, np.where(opens, 1, -1)), dtype=np.int32) + found.depth
        inside = np.flatnonzero(commas & (depths > 0))
        if inside.size:
            last = int(inside[-1]) + 1
            found.add(marks[:last] + at, opens[:last], depths[:last])
            kept = max(min(len(brackets), found.lowest), 0)
            names = [
                (chr(body[opener]), body[name:opener].rstrip().removesuffix(b":"))
                for opener, name in found.openers(start, kept)
            ]
            return _Cut(at + int(marks[last - 1]), kept, names)
        found.add(marks + at, opens, depths)
        at, in_string = at + len(text), bool(within[-1])
        pause()
    return None
