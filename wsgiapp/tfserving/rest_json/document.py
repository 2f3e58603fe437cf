"""The body of a REST request: one JSON object, in which NaN and Infinity are numbers.

Of a key that stands twice in an object the first one counts, as rapidjson finds members, in TF Serving.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import INT64_MAX
from wsgiapp.tfserving.rest_json.pieces import Charge, Pause, free, no_pause
from wsgiapp.tfserving.rest_json.piecewise import MAX_PARSED_AT_ONCE, PlacedError, parse_in_pieces

# A part of orjson's error -> the text of rapidjson's (rapidjson/error/en.h), with which TF Serving answers.
RAPIDJSON_ERRORS: Mapping[str, str] = {
    "input data is empty": "The document is empty.",
    "content after document": "The document root must not be followed by other values.",
    "expected a string key": "Missing a name for object member.",
    "expected ':'": "Missing a colon after a name of object member.",
    "expected ',' or '}'": "Missing a comma or } after an object member.",
    "expected ',' or ']'": "Missing a comma or ] after an array element.",
    "surrogate in string": "The surrogate pair in string is invalid.",
    "escaped sequence": "Invalid escape character in string.",
    "UTF-8": "Invalid encoding in string.",
    "control character": "Invalid encoding in string.",
    "infinity": "Number too big to be stored in double.",
    "depth": "The document is nested too deeply.",
    "end of data": "The document ends too early.",
}
MAX_INT_CHARS = len(str(-INT64_MAX)) + 1  # of those that may be within 64 bits
KEY = re.compile(rb'"[ \t\r\n]*:')
NOT_FINITE = re.compile(rb"-?(?:NaN|Infinity)")
# Characters of a value that an error repeats; TF Serving repeats all of it.
SHOWN_CHARS = 200


def parse(body: bytes, pause: Pause = no_pause, charge: Charge = free) -> dict[str, Any]:
    """The object in `body`. Integers beyond 64 bits are floats. For `pause` and `charge` see `parse_in_pieces`.

    Raises `InvalidArgument`, and `TooLarge` for what would take too much memory.
    """
    if not body:
        raise InvalidArgument(texts.EMPTY_DOCUMENT)
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        document = _parse(body) if len(body) <= MAX_PARSED_AT_ONCE else parse_in_pieces(body, _parse, pause, charge)
    except json.JSONDecodeError as exc:  # orjson's error is a subclass
        raise _parse_error(exc) from exc
    if not isinstance(document, dict):
        raise InvalidArgument(texts.NOT_AN_OBJECT.format(value=shown(document)))
    return document


def signature_name(document: dict[str, Any]) -> str:
    """The signature that a request names; empty for the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidArgument(texts.SIGNATURE_NAME_NOT_STRING.format(value=shown(document)))
    return name


def shown(value: Any) -> str:
    """A value as the JSON it came from, cut off where it is long, for the text of an error."""
    start = "".join(islice(_encoder.iterencode(_start_of(value, iter(range(SHOWN_CHARS)))), SHOWN_CHARS))
    return start if len(start) <= SHOWN_CHARS else f"{start[:SHOWN_CHARS]}..."


def _start_of(value: Any, values: Iterator[int]) -> Any:
    """As much of a value as is shown: no more than so many values of it, and of each string the beginning."""
    if isinstance(value, str):
        return value[: SHOWN_CHARS + 1]
    if isinstance(value, list):
        return [_start_of(each, values) for _, each in zip(values, value, strict=False)]
    if isinstance(value, dict):
        members = zip(values, value.items(), strict=False)
        return {name[: SHOWN_CHARS + 1]: _start_of(each, values) for _, (name, each) in members}
    return value


def kind(value: Any) -> str:
    """rapidjson's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number", type(None): "Null"}
    return names[type(value)]


_encoder = json.JSONEncoder(indent=4, ensure_ascii=False)


def _parse(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
        repeats_keys = type(document) is dict and _repeats_keys(body, document)
    except orjson.JSONDecodeError:
        if not NOT_FINITE.search(body):
            raise
        return _parse_not_finite(body)
    except RecursionError as exc:  # Python's limit is below orjson's
        raise json.JSONDecodeError(str(exc), "", 0) from exc
    return _parse_slowly(body) if repeats_keys else document


def _repeats_keys(body: bytes, document: Any) -> bool:
    """Whether the body may have more members than the document; one with colons in its texts takes longer to say."""
    members = _known_members(document)
    return body.count(b":") > members and len(KEY.findall(body)) > members


def _known_members(value: Any) -> int:
    """The members of an object and of those in it, without going through long lists of other things."""
    count, inner = 0, value
    if type(value) is dict:
        count, inner = len(value), value.values()
    elif not value or type(value[0]) is not dict:
        return 0
    for each in inner:
        if type(each) is dict or type(each) is list:
            count += _known_members(each)
    return count


def _parse_not_finite(body: bytes) -> Any:
    """orjson knows no NaN, but reports every other mistake."""
    orjson.loads(NOT_FINITE.sub(lambda match: b"0".ljust(len(match[0])), body))
    return _parse_slowly(body)


def _parse_slowly(body: bytes) -> Any:
    """By the standard library, a third as fast as orjson."""
    text = body.decode()
    try:
        return json.loads(text, parse_int=_integer, object_pairs_hook=_first_ones)
    except RecursionError as exc:
        raise json.JSONDecodeError(str(exc), text, 0) from exc


def _first_ones(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    return found if len(found) == len(members) else dict(reversed(members))


def _integer(digits: str) -> int | float:
    """As orjson reads it."""
    if len(digits) > MAX_INT_CHARS:
        return float(digits)  # `int` rejects thousands of digits
    number = int(digits)
    return number if -INT64_MAX - 1 <= number < 2**64 else float(digits)


def _parse_error(error: Exception) -> InvalidArgument:
    text = next((text for part, text in RAPIDJSON_ERRORS.items() if part in str(error)), "Invalid value.")
    offset = 0
    if isinstance(error, PlacedError):
        offset = error.place
    elif isinstance(error, json.JSONDecodeError):
        offset = len(error.doc[: error.pos].encode())
    return InvalidArgument(texts.PARSE_ERROR.format(error=text, offset=offset))
