"""Lists of strings as clients write them: JSON, or what Python's `str(list)` gives. Parsed, never evaluated."""

import ast
import re
from collections.abc import Callable
from typing import Any

import orjson

# An item of a list or tuple, with the comma after it or the end. Python's own parser takes 0.6 s and 300 MB for 1 MB.
ITEM = re.compile(r"""\s*[uU]?(?:'((?:[^'\\\n]++|\\.)*+)'|"((?:[^"\\\n]++|\\.)*+)")\s*(?:,|\Z)""")
ESCAPE = re.compile(r"\\(?:[\\'\"abfnrtv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3})")
BRACKETS = {"[": "]", "(": ")"}
# Whatever else Python understands (bytes, comments, other escapes) is left to its own parser, where it is short.
MAX_PARSED_BY_PYTHON = 2000
# Between two pauses: 1 ms.
PIECE_ITEMS, PIECE_CHARS = 1000, 10_000


def parse_list(text: str, pause: Callable[[], object] = int) -> Any:
    """What `text` says; usually a list or tuple of strings, which the caller checks. `pause` is called in a long one.

    Raises `ValueError`.
    """
    text = text.removeprefix("\ufeff").strip()
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    strings = _strings(text, pause)
    if strings is not None:
        return strings
    if len(text) > MAX_PARSED_BY_PYTHON:
        raise ValueError("not a list literal of strings")
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as exc:
        raise ValueError(str(exc)) from exc


def _strings(text: str, pause: Callable[[], object]) -> list[str] | None:
    """The strings of a list or tuple of nothing else; `None` for what is left to Python's own parser."""
    if len(text) < 2 or BRACKETS.get(text[0]) != text[-1]:
        return None
    inner = text[1:-1]
    strings: list[str] = []
    position = 0
    while position < len(inner):
        item = ITEM.match(inner, position)
        if item is None:
            return None
        string = item[1] if item[1] is not None else item[2]
        if len(strings) % PIECE_ITEMS == PIECE_ITEMS - 1 or len(string) > PIECE_CHARS:
            pause()
        if "\\" in string:
            if "\\" in ESCAPE.sub("", string):
                return None
            string = string.encode("latin-1", "backslashreplace").decode("unicode_escape")
        strings.append(string)
        position = item.end()
    is_string = text[0] == "(" and len(strings) == 1 and not inner.rstrip().endswith(",")
    return None if is_string or not strings else strings
