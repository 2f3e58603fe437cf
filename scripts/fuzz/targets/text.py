"""Fields of requests: lists of words, base64, queries, forms."""

from __future__ import annotations

import ast
import base64
import binascii
from urllib.parse import parse_qsl

from fuzz.targets.target import Target, WrongResult
from wsgiapp.errors import RequestError
from wsgiapp.pipelines.base64text import decode_base64
from wsgiapp.pipelines.list_literal import parse_list
from wsgiapp.web.form import parse_multipart, parse_pairs

BOUNDARY = "frontier"


def _list_literal(data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        parsed = parse_list(text)
    except ValueError:
        return
    if isinstance(parsed, list) and text[:1] in "[(" and all(isinstance(item, str) for item in parsed):
        _require_same_as_python(text, parsed)


def _require_same_as_python(text: str, parsed: list[str]) -> None:
    try:
        expected = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return  # JSON that is no Python
    is_list = isinstance(expected, (list, tuple)) and all(isinstance(item, str) for item in expected)
    # With escapes JSON, which comes first, may mean something else.
    if is_list and list(expected) != parsed and "\\" not in text:
        raise WrongResult(f"{text!r}: {parsed!r}, Python says {expected!r}")


def _base64(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        decoded = decode_base64("img", text)
    except RequestError:
        decoded = None
    try:
        expected = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return  # without padding, of the other alphabet: what clients send, and the standard library does not take
    if decoded != expected:
        raise WrongResult(f"{text!r}: {decoded!r}, not {expected!r}")


def _pairs(data: bytes) -> None:
    try:
        fields = parse_pairs(data, "query")
    except RequestError:
        return
    expected: dict[str, str] = {}
    for name, value in parse_qsl(data.decode("latin-1"), keep_blank_values=True, encoding="latin-1"):
        expected.setdefault(name.encode("latin-1").decode(errors="replace"), value)
    for name in fields:
        try:
            value = fields[name]
        except RequestError:
            continue  # not UTF-8
        if name in expected and expected[name].encode("latin-1") != value.encode():
            raise WrongResult(f"{data!r}: {name!r} is {value!r}, not {expected[name]!r}")


def _multipart(data: bytes) -> None:
    try:
        form = parse_multipart(data, f"multipart/form-data; boundary={BOUNDARY}")
    except RequestError:
        return
    if any(content not in data for content in form.files.values()):
        raise WrongResult(f"{data!r}: a file's content that was not sent")


PART = (
    b'--frontier\r\nContent-Disposition: form-data; name="line"\r\n\r\n\xe5\xa5\xbd\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="img"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\x89PNG\r\n\x1a\n\r\n--frontier--\r\n"
)
TARGETS = (
    Target(
        "list_literal",
        _list_literal,
        (b'["a", "b"]', "['我', u\"很\", 'it\\'s', '\\u4e2d']".encode(), b"('a',)", b"['a' 'b', 1, None, b'x']"),
    ),
    Target("base64", _base64, (b"5oiR5b6I", b"-_-_", b"YQ==", b"YQ", b"Y Q = =", b"data:,")),
    Target("pairs", _pairs, (b"line=5oiR&words=%5B%22a%22%5D", b"a=1&a=2&&=&b", b"x=%e4%bd%a0+%2B%", b"%zz=%c3")),
    Target("multipart", _multipart, (PART, PART.replace(b"\r\n", b"\n"), PART[:-4], b"--frontier--")),
)
