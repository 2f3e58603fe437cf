"""What stands in a query or a form: fields by name, and files.

A form is parsed in memory, where its body already is; Werkzeug's parser writes files to the disk, and makes nothing at
all of a form in which a single name is not UTF-8.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from werkzeug.http import parse_options_header

from wsgiapp.errors import InvalidField, TooLarge

MAX_PARTS = 100  # of multipart/form-data
MAX_PAIRS = 1000  # of a query, or of a form in its manner
MAX_PART_HEAD_BYTES = 16 * 1024
# What ends a boundary's line. Line breaks must be CRLF (RFC 2046, 5.1.1), which not every client knows.
BOUNDARY_END = re.compile(rb"--|[ \t]*(?:\r\n|\n|\r)")
HEAD_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
LINE_BREAK = re.compile(rb"\r\n|\n|\r")
NO_PART = "no part of multipart/form-data begins with the boundary that Content-Type names"
# Half a character of GBK may be a backslash before the closing quote, after which no parser sees the file's name.
FILE_NAME = re.compile(r";\s*filename\*?\s*=", re.IGNORECASE)


class Form(NamedTuple):
    """Fields and files by name; where a name stands twice, the first."""

    fields: "Fields"
    files: Mapping[str, bytes]


class Fields(dict[str, Any]):
    """Fields by name. One that is not UTF-8 raises `InvalidField` when it is read, and is no obstacle before."""

    def __getitem__(self, name: str) -> Any:
        return _checked(name, super().__getitem__(name))

    def get(self, name: str, default: Any = None) -> Any:
        return _checked(name, super().get(name, default))


class _NotText(NamedTuple):
    byte: int


def parse_pairs(sent: bytes, where: str) -> Fields:
    """The fields of a query, or of an `application/x-www-form-urlencoded` form; `where` names it in errors."""
    if sent.count(b"&") >= MAX_PAIRS:
        raise TooLarge(where, f"more than {MAX_PAIRS} fields")
    try:
        pairs = parse_qsl(sent.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        text = sent.decode(errors="surrogateescape")
        decoded = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
        return _first((name, _text(value)) for name, value in decoded)
    return _first(pairs)


def parse_multipart(body: bytes, content_type: str) -> Form:
    """The parts of a `multipart/form-data` body. Raises `InvalidField`, or `TooLarge` for too many."""
    boundary = parse_options_header(content_type)[1].get("boundary", "").encode("latin-1", "replace")
    if not boundary:
        raise _malformed(
            "multipart/form-data without a boundary; leave Content-Type to the HTTP library, which adds it"
        )
    fields, files = [], []
    for part in _parts(body, b"--" + boundary):
        name, is_file, content = _read_part(part)
        if is_file:
            files.append((name, content))
        else:
            fields.append((name, _text(content.decode(errors="surrogateescape"))))
    return Form(_first(fields), dict(reversed(files)))


def _first(pairs: Iterable[tuple[str, Any]]) -> Fields:
    fields = Fields()
    for name, value in pairs:
        fields.setdefault(name, value)
    return fields


def _text(text: str) -> Any:
    """A text whose undecodable bytes are surrogates, or what stands for one that has any."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        return _NotText(ord(text[exc.start]) - 0xDC00)
    return text


def _checked(name: str, value: Any) -> Any:
    if type(value) is _NotText:
        raise InvalidField(name, f"not UTF-8 (a byte is 0x{value.byte:02X}); send it in UTF-8, or base64 of UTF-8")
    return value


def _parts(body: bytes, delimiter: bytes) -> Iterator[bytes]:
    """What stands between the boundaries' lines."""
    start = None
    count = 0
    for at, end, is_last in _boundaries(body, delimiter):
        if start is not None:
            count += 1
            if count > MAX_PARTS:
                raise TooLarge("body", f"more than {MAX_PARTS} parts of multipart/form-data")
            line_break = 2 if body[max(at - 2, start) : at] == b"\r\n" else 1
            yield body[start : max(at - line_break, start)]
        if is_last:
            return
        start = end
    raise _malformed("cut off: the last boundary of multipart/form-data is missing" if start is not None else NO_PART)


def _boundaries(body: bytes, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where each boundary begins, where its line ends, and whether it says that it is the last."""
    at = body.find(delimiter)
    while at >= 0:
        line_end = BOUNDARY_END.match(body, at + len(delimiter))
        if line_end and (at == 0 or body[at - 1] in b"\r\n"):
            yield at, line_end.end(), line_end[0] == b"--"
        at = body.find(delimiter, at + len(delimiter))


def _read_part(part: bytes) -> tuple[str, bool, bytes]:
    """A part's name, whether it is a file, and its content."""
    head_end = HEAD_END.search(part, 0, MAX_PART_HEAD_BYTES)
    if head_end is None:
        raise _malformed("a part of multipart/form-data without an empty line after its headers")
    for line in LINE_BREAK.split(re.sub(rb"(?:\r\n|\n|\r)[ \t]+", b" ", part[: head_end.start()])):
        name, _, value = line.decode(errors="replace").partition(":")
        if name.strip().lower() == "content-disposition":
            options = parse_options_header(value.strip())[1]
            if "name" in options:
                is_file = "filename" in options or FILE_NAME.search(value) is not None
                return options["name"], is_file, part[head_end.end() :]
    raise _malformed('a part of multipart/form-data without "Content-Disposition: form-data; name=..."')


def _malformed(problem: str) -> InvalidField:
    return InvalidField("body", problem)
