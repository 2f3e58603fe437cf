"""Predict requests: `instances` (rows) or `inputs` (columns) -> arrays."""

import binascii
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving.messages import types_pb2
from wsgiapp.tfserving.rest_json.document import kind, shown
from wsgiapp.tfserving.tensors import NUMPY_TYPES

MOST_DIMENSIONS = 64  # of a numpy array


class Misfit(Exception):
    """Raised for a value that is no tensor of the wanted type; `item` is its place in the outermost list."""

    def __init__(self, text: str, item: int = 0) -> None:
        super().__init__(text)
        self.item = item


def read_inputs(document: Mapping[str, Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The arrays by input name. `inputs` are the signature's `DT_*` by name.

    Raises `InvalidArgument` with TF Serving's texts. Shapes are not compared with the signature's: that is the
    model's business, which knows about broadcasting.
    """
    if "instances" in document and "inputs" in document:
        _refuse(document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in document:
        items = document["instances"]
        if not isinstance(items, list):
            _refuse(document, "Excepting 'instances' to be an list/array")
        if not items:
            _refuse(document, "No values in 'instances' array")
        return _rows(items, inputs)
    if "inputs" in document:
        return _columns(document["inputs"], inputs)
    raise InvalidArgument("Missing 'inputs' or 'instances' key")


def dense(value: Any, dtype: int) -> np.ndarray:
    """A scalar, or a list of lists ... of scalars of equal lengths, as an array of a `DT_*` type.

    Raises `Misfit`.
    """
    shape, leaves = _unnested(value)
    reader = _READERS.get(dtype)
    if reader is None:
        raise Misfit(f"Conversion of JSON Value: {shown(value)} to type: {type_name(dtype)} is not supported")
    try:
        return reader(leaves, dtype).reshape(shape)
    except _WrongLeaf as exc:
        leaf = leaves[exc.index]
        if isinstance(leaf, list):
            text = f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}"
        else:
            text = exc.text or _type_error(leaf, dtype)
        raise Misfit(text, exc.index // math.prod(shape[1:])) from None


def is_base64_object(value: Any) -> bool:
    """Whether a value is `{"b64": "..."}`, which stands for bytes."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def decode_base64_object(value: dict[str, Any]) -> bytes:
    """The bytes of `{"b64": "..."}`: the standard alphabet (RFC 4648, 4), padding optional, white space ignored.

    Raises `InvalidArgument`. It is stricter than the simple endpoints, because here no URL has mangled anything.
    """
    if not is_base64_object(value):
        raise InvalidArgument(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as exc:
        raise InvalidArgument("Unable to base64 decode") from exc


def lossy(value: Any, target: str) -> str:
    """The text for a number that a float of that type cannot hold."""
    return f"Cannot convert JSON value: {shown(value)} to {target} without loss of precision."


def type_name(dtype: int) -> str:
    """TensorFlow's short name of a `DT_*` type: `float`, `int64`, ..."""
    return types_pb2.DataType.Name(dtype).removeprefix("DT_").lower()


# Rows and columns


def _rows(items: list[Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if _is_object(items[0]):
        _require_names(items, inputs)
        return {name: _batch([item[name] for item in items], dtype, name) for name, dtype in inputs.items()}
    if len(inputs) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            f"tensorinfo_map; the inputs are {_listed(inputs)}"
        )
    for place, item in enumerate(items):
        if _is_object(item):
            raise InvalidArgument(f"Expecting value/list but got object at item {place} of input list")
    ((name, dtype),) = inputs.items()
    return {name: _batch(items, dtype, name, named=False)}


def _require_names(items: list[Any], inputs: Mapping[str, int]) -> None:
    names = inputs.keys()
    for place, item in enumerate(items):
        if not isinstance(item, dict):
            raise InvalidArgument(f"Expecting object but got list at item {place} of input list")
        if item.keys() != names:
            if unknown := min(item.keys() - names, default=""):
                text = f"JSON object: does not have named input: {unknown}; the inputs are {_listed(names)}"
                raise _failed(place, text, unknown)
            raise InvalidArgument(
                f"Failed to process element: {place} of 'instances' list. JSON object: {shown(item)} "
                f"must only have keys: {_listed(names)}"
            )


def _batch(items: list[Any], dtype: int, name: str, *, named: bool = True) -> np.ndarray:
    """The items as one array; they must be alike."""
    try:
        return dense(items, dtype)
    except Misfit as exc:
        place, text = exc.item, str(exc)
    alone = []
    for each in (0, place):  # what is wrong is said of the item as such, or of how it differs from the first one
        try:
            alone.append(dense(items[each], dtype))
        except Misfit as exc:
            raise _failed(each, str(exc), name, named) from None
    first, item = alone
    if item.size != first.size:
        text = f"Expecting tensor size: {first.size} but got: {item.size}"
    elif item.shape != first.shape:
        text = f"Expecting shape {_bracketed(first.shape)} but got: {_bracketed(item.shape)}"
    raise _failed(place, text, name, named)


def _columns(value: Any, inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
    if not _is_object(value):
        if len(inputs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                f"tensorinfo_map; the inputs are {_listed(inputs)}"
            )
        value = dict.fromkeys(inputs, value)
    arrays = {}
    for name, dtype in inputs.items():
        if name not in value:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
        try:
            arrays[name] = dense(value[name], dtype)
        except Misfit as exc:
            raise InvalidArgument(_naming(exc, name)) from None
    return arrays


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64_object(value)


def _failed(place: int, text: str, name: str, named: bool = True) -> InvalidArgument:
    """The error of one item; TF Serving names the input only where the client did."""
    key = f" key: {name}" if named else ""
    return InvalidArgument(
        f"Failed to process element: {place}{key} of 'instances' list. Error: INVALID_ARGUMENT: "
        f"{text if named else _naming(text, name)}"
    )


def _naming(text: object, name: str) -> str:
    return f"{text} (input {name})"


def _refuse(document: Mapping[str, Any], text: str) -> NoReturn:
    raise InvalidArgument(f"JSON Value: {shown(document)} {text}")


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _bracketed(shape: Iterable[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


# Shapes


def _unnested(value: Any) -> tuple[list[int], list[Any]]:
    """The shape of nested lists, taken along the first elements, and all leaves in order."""
    shape: list[int] = []
    level = [value]
    while level and type(level[0]) is list:
        size = len(level[0])
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise _ragged(level, shape, size)
        if len(shape) == MOST_DIMENSIONS:
            raise Misfit(f"Encountered list at unexpected level: {len(shape)} expected < {MOST_DIMENSIONS}")
        shape.append(size)
        level = list(chain.from_iterable(level))
    return shape, level


def _ragged(level: list[Any], shape: list[int], size: int) -> Misfit:
    """The error of the first of the nodes at one depth that is no list, or not of that size."""
    place, node = next((i, node) for i, node in enumerate(level) if type(node) is not list or len(node) != size)
    depth = len(shape)
    if type(node) is list:
        text = f"Encountered list at unexpected size: {len(node)} at level: {depth} expected size: {size}"
    else:
        text = (
            f"JSON Value: {shown(node)} found at incorrect level: {depth + 1} in the JSON DOM. "
            f"Expected at level: {depth + _rank(level[0])}"
        )
    return Misfit(text, place // math.prod(shape[1:]))


def _rank(value: Any) -> int:
    rank = 0
    while type(value) is list:
        rank += 1
        value = value[0] if value else None
    return rank


# Leaves -> flat arrays


class _WrongLeaf(Exception):
    def __init__(self, index: int, text: str = "") -> None:
        super().__init__(text)
        self.index = index
        self.text = text


def _require_kinds(leaves: list[Any], kinds: set[type]) -> None:
    if not set(map(type, leaves)) <= kinds:
        raise _WrongLeaf(next(i for i, leaf in enumerate(leaves) if type(leaf) not in kinds))


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
        raise _WrongLeaf(min(wrong), lossy(leaves[min(wrong)], type_name(dtype)))
    return wide.astype(kept)


def _integers(leaves: list[Any], dtype: int) -> np.ndarray:
    _require_kinds(leaves, {int})
    kept = NUMPY_TYPES[dtype]
    try:
        return np.array(leaves, kept)
    except OverflowError:
        limits = np.iinfo(kept)
        raise _WrongLeaf(next(i for i, leaf in enumerate(leaves) if not limits.min <= leaf <= limits.max)) from None


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
        raise _WrongLeaf(index, str(exc)) from None


_BY_KIND: Mapping[str, Callable[[list[Any], int], np.ndarray]] = {
    "f": _floats,
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "O": _strings,
}
_READERS = {enum: _BY_KIND[dtype.kind] for enum, dtype in NUMPY_TYPES.items() if dtype.kind in _BY_KIND}


def _type_error(value: Any, dtype: int) -> str:
    return f"JSON Value: {shown(value)} Type: {kind(value)} is not of expected type: {type_name(dtype)}"
