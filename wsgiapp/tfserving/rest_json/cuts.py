"""Where a long JSON document can be cut: at commas outside of strings, found by numpy, a window at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from wsgiapp.tfserving.rest_json.long_strings import LongString, read_long_string
from wsgiapp.tfserving.rest_json.pieces import Charge, Pause

PIECE_BYTES = 64 * 1024
MAX_DEPTH = 1024  # of orjson
QUOTE, COMMA, OPENING, CLOSING = b'",{}'
MAX_UNCUT_BYTES = 2**20  # not counting long strings: a number, or white space
LOWER_CASE = 0x20  # the bit by which "[" and "{" differ, and "]" and "}"


class Piece(NamedTuple):
    """A piece of a document from where it was looked for: it ends before a comma inside of brackets, or with all.

    The last one ends earlier where it is nested too deeply, or goes on and on without a comma.
    """

    end: int
    is_last: bool
    kept: int = 0  # how many of the brackets that were open at the piece's beginning are open all through it
    opened: tuple[tuple[str, bytes], ...] = ()  # those opened after them: the bracket, and its member's name
    strings: tuple[LongString, ...] = ()  # those in it that are too long for one piece


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


def next_piece(body: bytes, start: int, brackets: str, pause: Pause, charge: Charge) -> Piece:
    """A piece of about `PIECE_BYTES` besides its long strings. Raises `json.JSONDecodeError` for one without an end."""
    found = _Marks(len(brackets))
    strings: list[LongString] = []
    at, in_string, string_start, uncut = start, False, start, 0
    while at + PIECE_BYTES < len(body):
        if found.depth > MAX_DEPTH or uncut > MAX_UNCUT_BYTES:  # it goes no further
            return Piece(at, True, strings=tuple(strings))
        uncut += PIECE_BYTES
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
            names = tuple(
                (chr(body[opener]), body[name:opener].rstrip().removesuffix(b":"))
                for opener, name in found.openers(start, kept)
            )
            return Piece(at + int(marks[last - 1]), False, kept, names, tuple(strings))
        found.add(marks + at, opens, depths)
        quotes = np.flatnonzero(chars == QUOTE)
        if quotes.size:
            string_start = at + int(quotes[-1]) + 1
        at, in_string = at + len(text), bool(within[-1])
        pause()
        if in_string and not quotes.size and (string := read_long_string(body, string_start, pause, charge)):
            strings.append(string)
            at = string.end
    return Piece(len(body), True, strings=tuple(strings))
