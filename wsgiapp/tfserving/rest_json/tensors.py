"""JSON values -> arrays of a wanted type: nested lists of numbers, strings, or `{"b64": ...}`."""

import binascii
import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.rest_json.document import kind, shown
from wsgiapp.tfserving.rest_json.pieces import PIECE_VALUES, Pause, no_pause, pieces_of
from wsgiapp.tfserving.tensors import NUMPY_TYPES, dtype_name

MAX_DIMENSIONS = 64  # of a numpy array


class NotATensor(Exception):
    """Raised for a value that is no tensor of the wanted type; `item` is its place in the outermost list."""

    def __init__(self, text: str, item: int = 0) -> None:
        super().__init__(text)
        self.item = item


def dense(value: Any, dtype: int, pause: Pause = no_pause) -> np.ndarray:
    """A scalar, or a list of lists ... of scalars of equal lengths, as an array of a `DT_*` type.

    `pause` is called again and again where there are many. Raises `NotATensor`.
    """
    shape, leaves = _unnested(value, pause)
    reader = _READERS.get(dtype)
    if reader is None:
        raise NotATensor(
            texts.UNSUPPORTED_CONVERSION.format(value=shown(value), dtype=dtype_name(dtype)) + " is not supported"
        )
    try:
        return _read(reader, leaves, dtype, pause).reshape(shape)
    except _WrongValue as exc:
        leaf = leaves[exc.index]
        if isinstance(leaf, list):
            text = texts.WRONG_LIST_LEVEL.format(level=len(shape), rank=len(shape))
        else:
            text = exc.text or _type_error(leaf, dtype)
        raise NotATensor(text, exc.index // math.prod(shape[1:])) from None


def is_base64_object(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`, which stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def decode_base64_object(value: dict[str, Any]) -> bytes:
    """The bytes of `{"b64": "..."}`: the standard alphabet (RFC 4648, 4), padding optional, white space ignored.

    Raises `InvalidArgument`. It is stricter than the simple endpoints, because here no URL has mangled anything.
    """
    if not is_base64_object(value):
        raise InvalidArgument(texts.BASE64_NOT_FORMATTED.format(value=shown(value)))
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as exc:
        raise InvalidArgument(texts.BASE64_NOT_DECODED) from exc


def lossy(value: Any, target: str) -> str:
    """The text for a number that a float of that type cannot hold."""
    return texts.LOSS_OF_PRECISION.format(value=shown(value), dtype=target)


# Shapes


def _unnested(value: Any, pause: Pause) -> tuple[list[int], list[Any]]:
    """The shape of nested lists, taken along the first elements, and all leaves in order."""
    shape: list[int] = []
    level = [value]
    while level and type(level[0]) is list:
        size = len(level[0])
        if not _are_lists_of(level, size, pause):
            raise _ragged(level, shape, size)
        if len(shape) == MAX_DIMENSIONS:
            raise NotATensor(texts.WRONG_LIST_LEVEL.format(level=len(shape), rank=MAX_DIMENSIONS))
        shape.append(size)
        level = level[0] if len(level) == 1 else _joined(level, size, pause)
    return shape, level


def _joined(lists: list[list[Any]], size: int, pause: Pause) -> list[Any]:
    """The elements of lists of that size."""
    joined: list[Any] = []
    for piece in pieces_of(lists, pause, max(1, PIECE_VALUES // max(size, 1))):
        joined += chain.from_iterable(piece) if len(piece) > 1 else piece[0]
    return joined


def _are_lists_of(nodes: list[Any], size: int, pause: Pause) -> bool:
    return all(set(map(type, piece)) == {list} and set(map(len, piece)) == {size} for piece in pieces_of(nodes, pause))


def _ragged(level: list[Any], shape: list[int], size: int) -> NotATensor:
    """The error of the first of the nodes at one depth that is no list, or not of that size."""
    place, node = next((i, node) for i, node in enumerate(level) if type(node) is not list or len(node) != size)
    depth = len(shape)
    if type(node) is list:
        text = texts.WRONG_LIST_SIZE.format(found=len(node), level=depth, expected=size)
    else:
        text = texts.WRONG_VALUE_LEVEL.format(value=shown(node), level=depth + 1, expected=depth + _rank(level[0]))
    return NotATensor(text, place // math.prod(shape[1:]))


def _rank(value: Any) -> int:
    rank = 0
    while type(value) is list:
        rank += 1
        value = value[0] if value else None
    return rank


# Leaves -> flat arrays


Reader = Callable[[list[Any], int], np.ndarray]


class _WrongValue(Exception):
    def __init__(self, index: int, text: str = "") -> None:
        super().__init__(text)
        self.index = index
        self.text = text


def _read(reader: Reader, leaves: list[Any], dtype: int, pause: Pause) -> np.ndarray:
    arrays: list[np.ndarray] = []
    for piece in pieces_of(leaves, pause):
        try:
            arrays.append(reader(piece, dtype))
        except _WrongValue as exc:
            exc.index += sum(map(len, arrays))
            raise
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _require_kinds(leaves: list[Any], kinds: set[type]) -> None:
    if not set(map(type, leaves)) <= kinds:
        raise _WrongValue(next(i for i, leaf in enumerate(leaves) if type(leaf) not in kinds))


def _floats(leaves: list[Any], dtype: int) -> np.ndarray:
    """Whole numbers must be exact in the type, others within its range: TF Serving's IsLosslessDecimal."""
    _require_kinds(leaves, {float, int})
    kept = NUMPY_TYPES[dtype]
    limits = np.finfo(kept)
    wide = np.array(leaves, np.float64)
    magnitude = np.abs(wide)
    wrong = np.flatnonzero(np.isfinite(wide) & (magnitude > limits.max)).tolist()
    wrong += [i for i in np.flatnonzero(magnitude >= 2.0 ** (limits.nmant + 1)).tolist() if type(leaves[i]) is int]
    if wrong:
        raise _WrongValue(min(wrong), lossy(leaves[min(wrong)], dtype_name(dtype)))
    return wide.astype(kept)


def _integers(leaves: list[Any], dtype: int) -> np.ndarray:
    _require_kinds(leaves, {int})
    kept = NUMPY_TYPES[dtype]
    try:
        return np.array(leaves, kept)
    except OverflowError:
        limits = np.iinfo(kept)
        raise _WrongValue(next(i for i, leaf in enumerate(leaves) if not limits.min <= leaf <= limits.max)) from None


def _booleans(leaves: list[Any], dtype: int) -> np.ndarray:
    _require_kinds(leaves, {bool})
    return np.array(leaves, np.bool_)


def _strings(leaves: list[Any], dtype: int) -> np.ndarray:
    _require_kinds(leaves, {str, dict})
    flat = np.empty(len(leaves), object)
    if dict in set(map(type, leaves)):
        flat[:] = [_bytes(leaf, index) for index, leaf in enumerate(leaves)]
    else:
        flat[:] = list(map(str.encode, leaves))
    return flat


def _bytes(leaf: str | dict[str, Any], index: int) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode()
    try:
        return decode_base64_object(leaf)
    except InvalidArgument as exc:
        raise _WrongValue(index, str(exc)) from None


_BY_KIND: Mapping[str, Reader] = {
    "f": _floats,
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "O": _strings,
}
_READERS = {enum: _BY_KIND[dtype.kind] for enum, dtype in NUMPY_TYPES.items() if dtype.kind in _BY_KIND}


def _type_error(value: Any, dtype: int) -> str:
    return texts.WRONG_TYPE.format(value=shown(value), kind=kind(value), dtype=dtype_name(dtype))
