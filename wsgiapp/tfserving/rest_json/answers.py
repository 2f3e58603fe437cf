"""Answers: arrays and results -> JSON, laid out as TF Serving's pretty printer does.

Rows and results stand on one line each list, columns have a line for each element.
"""

import base64
import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import orjson

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import ClassificationResult, RegressionResult
from wsgiapp.tfserving.rest_json.limits import DEFAULT_LIMITS, TensorLimits
from wsgiapp.tfserving.rest_json.pieces import PIECE_VALUES, Pause, no_pause
from wsgiapp.tfserving.tensors import TENSORFLOW_TYPES, Arrays, dtype_name

BYTES_SUFFIX = "_bytes"
INDENT = b"    "
PIECE_LINES = PIECE_VALUES // 4  # elements with a line each, which are written in as much time


def predictions(outputs: Arrays, pause: Pause = no_pause, limits: TensorLimits = DEFAULT_LIMITS) -> bytes:
    """`{"predictions": [...]}`: one item a row; an object by output name only where there are several outputs.

    `pause` is called again and again where there is much.

    Raises `InvalidArgument` for outputs that have no rows in common, `TooLarge` above the limit on an answer.
    """
    _require_rows(outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        *parts, last = limits.bounded(_line(name, array, pause))
        return _document("predictions", *parts, last[:-1], b"\n" + INDENT + b"]")
    names = sorted(outputs)
    heads = [(b",\n" if index else b"\n") + INDENT * 3 + _text(name) + b": " for index, name in enumerate(names)]
    lines = limits.bounded(
        head + row for head, name in zip(heads, names, strict=True) for row in _row_lines(name, outputs[name], pause)
    )
    count = len(outputs[names[0]])
    members = [list(islice(lines, count)) for _ in names]
    end = b"\n" + INDENT * 2 + b"}"
    start = b"\n" + INDENT * 2 + b"{"
    rows = b",".join(start + b"".join(parts) + end for parts in zip(*members, strict=True))
    return _document("predictions", b"[", rows, b"\n" + INDENT + b"]")


def columns(outputs: Arrays, pause: Pause = no_pause, limits: TensorLimits = DEFAULT_LIMITS) -> bytes:
    """`{"outputs": ...}`: whole tensors; an object by output name only where there are several outputs.

    `pause` is called again and again where there is much.

    Raises `InvalidArgument` for a type that JSON has no place for, `TooLarge` above the limit on an answer.
    """
    if not outputs:
        raise InvalidArgument(texts.NO_OUTPUTS)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _document("outputs", *limits.bounded(_lines(name, array, 1, pause)))
    return _document("outputs", b"{", *limits.bounded(_named_columns(outputs, pause)), b"\n" + INDENT + b"}")


def _named_columns(outputs: Arrays, pause: Pause) -> Iterator[bytes]:
    for index, name in enumerate(sorted(outputs)):
        yield (b",\n" if index else b"\n") + INDENT * 2 + _text(name) + b": "
        yield from _lines(name, outputs[name], 2, pause)


def classifications(result: ClassificationResult) -> bytes:
    """`{"results": [[[label, score], ...], ...]}`. Raises `InvalidArgument` for a result of nothing."""
    if not result.classifications:
        raise InvalidArgument(texts.NO_CLASSIFICATIONS)
    items = []
    for each in result.classifications:
        scores = _floats([one.score for one in each.classes])
        pairs = zip((_text(one.label) for one in each.classes), scores, strict=True)
        items.append(b"[" + b", ".join(b"[" + label + b", " + score + b"]" for label, score in pairs) + b"]")
    return _document("results", b"[" + b", ".join(items) + b"\n" + INDENT + b"]")


def regressions(result: RegressionResult) -> bytes:
    """`{"results": [value, ...]}`. Raises `InvalidArgument` for a result of nothing."""
    if not result.regressions:
        raise InvalidArgument(texts.NO_REGRESSIONS)
    values = _floats([each.value for each in result.regressions])
    return _document("results", b"[" + b", ".join(values) + b"]")


def error(text: str) -> bytes:
    """`{"error": text}`."""
    return _document("error", _text(text))


def _document(key: str, *value: bytes) -> bytes:
    """An object of one member; a long value comes in parts, to be copied once."""
    return b"".join((b"{\n" + INDENT, _text(key), b": ", *value, b"\n}"))


def _require_rows(outputs: Arrays) -> None:
    if not outputs:
        raise InvalidArgument(texts.NO_OUTPUTS)
    rows = 0
    for name, array in outputs.items():
        if array.ndim == 0:
            raise InvalidArgument(texts.OUTPUT_IS_SCALAR.format(name=name))
        if len(array) < 1:
            raise InvalidArgument(texts.OUTPUT_IS_EMPTY.format(name=name, size=len(array)))
        if rows and rows != len(array):
            raise InvalidArgument(texts.OUTPUTS_DIFFER.format(name=name, size=len(array), expected=rows))
        rows = len(array)


# Tensors


def _line(name: str, array: np.ndarray, pause: Pause) -> Iterator[bytes]:
    """A tensor on one line, `[[1.0, 2.0], [3.0, 4.0]]`, in parts; the last one ends with its last bracket."""
    if array.size <= PIECE_VALUES:
        yield _short_line(name, array)
        return
    separator = b"["
    for run in _runs(array, PIECE_VALUES, pause):
        yield separator
        if run.ndim == array.ndim:
            yield _short_line(name, run)[1:-1]
        else:
            yield from _line(name, run, pause)
        separator = b", "
    yield b"]"


def _short_line(name: str, array: np.ndarray) -> bytes:
    if array.dtype == object:
        return json.dumps(_json_strings(name, array), ensure_ascii=False).encode()
    return _numbers(array).replace(b",", b", ")


def _row_lines(name: str, array: np.ndarray, pause: Pause) -> Iterator[bytes]:
    """Each of a tensor's rows on a line."""
    for run in _runs(array, PIECE_VALUES, pause):
        if run.ndim == array.ndim:
            yield from _short_row_lines(name, run)
        else:
            yield b"".join(_line(name, run, pause))


def _short_row_lines(name: str, array: np.ndarray) -> list[bytes]:
    if array.dtype == object:
        return [json.dumps(row, ensure_ascii=False).encode() for row in _json_strings(name, array)]
    if not array.size:
        return [_short_line(name, row) for row in array]
    inner = array.ndim - 1
    between = b"]" * inner + b", " + b"[" * inner  # nowhere but between two rows
    rows = _short_line(name, array)[1 + inner : -1 - inner].split(between)
    return [b"[" * inner + row + b"]" * inner for row in rows]


def _lines(name: str, array: np.ndarray, levels: int, pause: Pause) -> Iterator[bytes]:
    """A tensor with a line for each element, all but the first moved to the right by so many levels, in parts."""
    if array.size <= PIECE_LINES:
        yield _short_lines(name, array, levels)
        return
    separator, end = b"[", b"\n" + INDENT * levels + b"]"
    for run in _runs(array, PIECE_LINES, pause):
        yield separator
        if run.ndim == array.ndim:
            yield _short_lines(name, run, levels)[1 : -len(end)]
        else:
            yield b"\n" + INDENT * (levels + 1)
            yield from _lines(name, run, levels + 1, pause)
        separator = b","
    yield end


def _short_lines(name: str, array: np.ndarray, levels: int) -> bytes:
    if array.dtype == object:
        lines = json.dumps(_json_strings(name, array), ensure_ascii=False, indent=len(INDENT)).encode()
    else:
        lines = _numbers(array, orjson.OPT_INDENT_2).replace(b"  ", INDENT)
    return lines.replace(b"\n", b"\n" + INDENT * levels)  # JSON has no line breaks inside strings


def _runs(array: np.ndarray, size: int, pause: Pause) -> Iterator[np.ndarray]:
    """As many rows at a time as have `size` elements, with a pause after each; single rows where these have more."""
    rows = size * len(array) // array.size if array.size else len(array)
    for start in range(0, len(array), max(rows, 1)):
        yield array[start : start + rows] if rows else array[start]
        if start + rows < len(array):
            pause()


def _numbers(array: np.ndarray, layout: int = 0) -> bytes:
    """An array as orjson writes it: floats as short as their type allows, whole ones with `.0`.

    What is not finite is bare: NaN, Infinity, -Infinity.
    """
    if array.dtype.kind not in "fiub":
        dtype = dtype_name(TENSORFLOW_TYPES[array.dtype])
        raise InvalidArgument(texts.OUTPUT_TYPE_NOT_SUPPORTED.format(dtype=dtype))
    if array.ndim == 0:
        return _numbers(array.reshape(1))[1:-1]
    text = orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY | layout)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return text
    values = array[~np.isfinite(array)].tolist()
    names = (b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity" for value in values)
    return re.sub(b"null", lambda _: next(names), text)  # which orjson writes for these and nothing else


def _floats(values: list[float]) -> list[bytes]:
    """float32 values, one by one."""
    return _numbers(np.array(values, np.float32))[1:-1].split(b",") if values else []


def _json_strings(name: str, array: np.ndarray) -> Any:
    """A tensor of bytes as nested lists of strings, or of `{"b64": ...}`.

    Bytes go as base64 where the output's name ends in `_bytes`, and where any of its elements is not UTF-8, of which
    TF Serving would make a document that no parser takes.
    """
    flat = array.ravel().tolist()
    if not name.endswith(BYTES_SUFFIX):
        try:
            return _like(array, [each.decode() for each in flat])
        except UnicodeDecodeError:
            pass
    return _like(array, [{"b64": base64.b64encode(each).decode()} for each in flat])


def _like(array: np.ndarray, flat: list[Any]) -> Any:
    shaped = np.empty(len(flat), object)
    shaped[:] = flat
    return shaped.reshape(array.shape).tolist()


def _text(text: str) -> bytes:
    return orjson.dumps(text)
