"""What stands in a query or a form: fields by name, and files.

A form is parsed in memory, where its body already is; Werkzeug's parser writes files to the disk, and makes nothing at
all of a form in which a single name is not UTF-8.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy as np
from werkzeug.http import parse_options_header

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.tfserving.rest_json.pieces import Pause, no_pause

MAX_PARTS = 100  # of multipart/form-data
MAX_PAIRS = 1000  # of a query, or of a form in its manner
MAX_PART_HEAD_BYTES = 16 * 1024
MAX_NAME_BYTES = 1024  # of a field; nothing reads one that is longer
MAX_BOUNDARY_CHARS = 70  # RFC 2046, 5.1.1
# What looks like a boundary in the content and is not one: RFC 2046, 5.1.1 has clients choose another one.
MAX_FALSE_BOUNDARIES = 1000
MAX_CONTENT_TYPE_BYTES = 1024
MAX_BOUNDARY_LINE_BYTES = 64  # of white space and the line break after it
UNQUOTED_AT_ONCE = 16 * 1024  # bytes; longer values go by numpy, in pieces of as many
DECODED_AT_ONCE = 512 * 1024
SEARCHED_AT_ONCE = 2**20
COPIED_AT_ONCE = 2**20
HEX_VALUES = np.full(256, -1, np.int16)
HEX_VALUES[list(b"0123456789abcdefABCDEF")] = [*range(16), *range(10, 16)]
# What ends a boundary's line. Line breaks must be CRLF (RFC 2046, 5.1.1), which not every client knows.
BOUNDARY_END = re.compile(rb"--|[ \t]*(?:\r\n|\n|\r)")
HEAD_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
FOLD = re.compile(rb"(?:\r\n|\n|\r)[ \t]+")
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


def parse_pairs(sent: bytes, where: str, pause: Pause = no_pause) -> Fields:
    """The fields of a query, or of an `application/x-www-form-urlencoded` form; `where` names it in errors.

    `pause` is called again and again where they are long.
    """
    pairs = sent.split(b"&", MAX_PAIRS)
    if len(pairs) > MAX_PAIRS:
        raise TooLarge(where, f"more than {MAX_PAIRS} fields")
    fields = Fields()
    for pair in pairs:
        name, equals, value = pair.partition(b"=")
        if (name or equals) and len(name) <= MAX_NAME_BYTES:
            fields.setdefault(_unquoted(name, pause).decode(errors="replace"), _text(_unquoted(value, pause), pause))
    return fields


def parse_multipart(body: bytes, content_type: str, pause: Pause = no_pause) -> Form:
    """The parts of a `multipart/form-data` body. `pause` is called again and again where it is long.

    Raises `InvalidField`, or `TooLarge` for too many.
    """
    fields, files = Fields(), dict[str, bytes]()
    for start, end in _parts(body, b"--" + _boundary(content_type), pause):
        name, is_file, content = _read_part(body, start, end, pause)
        if is_file:
            files.setdefault(name, content)
        else:
            fields.setdefault(name, _text(content, pause))
    return Form(fields, files)


def _boundary(content_type: str) -> bytes:
    """What stands between the parts."""
    boundary = ""
    if len(content_type) <= MAX_CONTENT_TYPE_BYTES:
        boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise _malformed(
            "multipart/form-data without a boundary; leave Content-Type to the HTTP library, which adds it"
        )
    if len(boundary) > MAX_BOUNDARY_CHARS:
        raise _malformed(f"the boundary of multipart/form-data has more than {MAX_BOUNDARY_CHARS} characters")
    return boundary.encode("latin-1", "replace")


def _text(sent: bytes, pause: Pause) -> Any:
    """A text, or what stands for bytes that are none."""
    try:
        if len(sent) <= DECODED_AT_ONCE:
            return sent.decode()
        decoder = codecs.getincrementaldecoder("utf-8")()
        pieces = []
        for start in range(0, len(sent), DECODED_AT_ONCE):
            pieces.append(decoder.decode(sent[start : start + DECODED_AT_ONCE]))
            pause()
        pieces.append(decoder.decode(b"", final=True))
        return "".join(pieces)
    except UnicodeDecodeError as exc:
        return _NotText(exc.object[exc.start])


def _unquoted(sent: bytes, pause: Pause) -> bytes:
    """What is percent-encoded; a `+` is a space. `unquote_to_bytes` takes 70 ms for 1 MB of nothing else."""
    if len(sent) <= UNQUOTED_AT_ONCE:
        sent = sent.replace(b"+", b" ")
        return unquote_to_bytes(sent) if b"%" in sent else sent
    if b"%" not in sent and b"+" not in sent:
        return sent
    pieces = []
    start = 0
    while start < len(sent):
        end = start + UNQUOTED_AT_ONCE
        end -= (0, 2, 1)[sent[end - 2 : end].rfind(b"%") + 1]  # not within an escape
        pieces.append(_unquoted_by_array(sent[start:end]))
        start = end
        pause()
    return b"".join(pieces)


def _unquoted_by_array(sent: bytes) -> bytes:
    chars = np.frombuffer(sent.replace(b"+", b" "), np.uint8)
    places = np.flatnonzero(chars[:-2] == ord("%"))
    values = HEX_VALUES[chars[places + 1]] * 16 + HEX_VALUES[chars[places + 2]]
    is_valid = (HEX_VALUES[chars[places + 1]] >= 0) & (HEX_VALUES[chars[places + 2]] >= 0)
    places = places[is_valid]
    unquoted = chars.copy()
    unquoted[places] = values[is_valid]
    kept = np.ones(len(chars), np.bool_)
    kept[places + 1] = kept[places + 2] = False
    return unquoted[kept].tobytes()


def _checked(name: str, value: Any) -> Any:
    if type(value) is _NotText:
        raise InvalidField(name, f"not UTF-8 (a byte is 0x{value.byte:02X}); send it in UTF-8, or base64 of UTF-8")
    return value


def _parts(body: bytes, delimiter: bytes, pause: Pause) -> Iterator[tuple[int, int]]:
    """What stands between the boundaries' lines: its beginning and end."""
    start = None
    count = 0
    for at, end, is_last in _boundaries(body, delimiter, pause):
        if start is not None:
            count += 1
            if count > MAX_PARTS:
                raise TooLarge("body", f"more than {MAX_PARTS} parts of multipart/form-data")
            line_break = 2 if body[max(at - 2, start) : at] == b"\r\n" else 1
            yield start, max(at - line_break, start)
        if is_last:
            return
        start = end
    raise _malformed("cut off: the last boundary of multipart/form-data is missing" if start is not None else NO_PART)


def _boundaries(body: bytes, delimiter: bytes, pause: Pause) -> Iterator[tuple[int, int, bool]]:
    """Where each boundary begins, where its line ends, and whether it says that it is the last."""
    false_ones = 0
    at = _find(body, delimiter, 0, pause)
    while at >= 0:
        after = at + len(delimiter)
        line_end = BOUNDARY_END.match(body, after, after + MAX_BOUNDARY_LINE_BYTES)
        if line_end and (at == 0 or body[at - 1] in b"\r\n"):
            yield at, line_end.end(), line_end[0] == b"--"
        else:
            false_ones += 1
            if false_ones > MAX_FALSE_BOUNDARIES:
                raise _malformed("the boundary of multipart/form-data stands in its content; choose another one")
        at = _find(body, delimiter, after, pause)


def _find(body: bytes, delimiter: bytes, start: int, pause: Pause) -> int:
    """As `bytes.find`, with pauses."""
    for window in range(start, len(body), SEARCHED_AT_ONCE):
        if window > start:
            pause()
        at = body.find(delimiter, window, window + SEARCHED_AT_ONCE + len(delimiter) - 1)
        if at >= 0:
            return at
    return -1


def _read_part(body: bytes, start: int, end: int, pause: Pause) -> tuple[str, bool, bytes]:
    """A part's name, whether it is a file, and its content."""
    head_end = HEAD_END.search(body, start, min(end, start + MAX_PART_HEAD_BYTES))
    if head_end is None:
        raise _malformed("a part of multipart/form-data without an empty line after its headers")
    if end - start > COPIED_AT_ONCE:
        pause()
    for line in LINE_BREAK.split(FOLD.sub(b" ", body[start : head_end.start()])):
        name, _, value = line.decode(errors="replace").partition(":")
        if name.strip().lower() == "content-disposition":
            options = parse_options_header(value.strip())[1]
            if "name" in options:
                is_file = "filename" in options or FILE_NAME.search(value) is not None
                return options["name"], is_file, body[head_end.end() : end]
    raise _malformed('a part of multipart/form-data without "Content-Disposition: form-data; name=..."')


def _malformed(problem: str) -> InvalidField:
    return InvalidField("body", problem)
