"""Predict requests: `instances` (rows) or `inputs` (columns) -> arrays."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import types_pb2
from wsgiapp.tfserving.rest_json.document import shown
from wsgiapp.tfserving.rest_json.limits import DEFAULT_LIMITS, TensorLimits
from wsgiapp.tfserving.rest_json.pieces import Pause, no_pause, paused, pieces_of
from wsgiapp.tfserving.rest_json.tensors import NotATensor, dense, is_base64_object


def read_inputs(
    document: Mapping[str, Any],
    inputs: Mapping[str, int],
    pause: Pause = no_pause,
    limits: TensorLimits = DEFAULT_LIMITS,
) -> dict[str, np.ndarray]:
    """The arrays by input name. `inputs` are the signature's `DT_*` by name. `pause` is called where there is much.

    Raises `TooLarge` for more values than `limits`, before any is converted, and `InvalidArgument` with TF Serving's
    texts. Shapes are not compared with the signature's: the model does that, which knows about broadcasting.
    """
    if "instances" in document and "inputs" in document:
        raise InvalidArgument(texts.INSTANCES_AND_INPUTS.format(value=shown(document)))
    if "instances" in document:
        items = document["instances"]
        if not isinstance(items, list):
            raise InvalidArgument(texts.INSTANCES_NOT_LIST.format(value=shown(document)))
        if not items:
            raise InvalidArgument(texts.INSTANCES_EMPTY.format(value=shown(document)))
        return _rows(items, inputs, pause, limits)
    if "inputs" in document:
        return _columns(document["inputs"], inputs, pause, limits)
    raise InvalidArgument(texts.NO_INSTANCES_OR_INPUTS)


def _rows(items: list[Any], inputs: Mapping[str, int], pause: Pause, limits: TensorLimits) -> dict[str, np.ndarray]:
    if _is_object(items[0]):
        _require_names(items, inputs, pause)
        _require_size({name: items[0][name] for name in inputs}, inputs, limits, len(items))
        return {name: _batch(_members(items, name, pause), dtype, name, pause) for name, dtype in inputs.items()}
    if len(inputs) > 1:
        raise InvalidArgument(f"{texts.INSTANCES_NOT_OBJECTS}; the inputs are {_listed(inputs)}")
    for place, item in paused(items, pause):
        if _is_object(item):
            raise InvalidArgument(texts.OBJECT_AMONG_VALUES.format(item=place))
    ((name, dtype),) = inputs.items()
    _require_size({name: items}, inputs, limits)
    return {name: _batch(items, dtype, name, pause, named=False)}


def _members(items: list[dict[str, Any]], name: str, pause: Pause) -> list[Any]:
    return [item[name] for piece in pieces_of(items, pause) for item in piece]


def _require_names(items: list[Any], inputs: Mapping[str, int], pause: Pause) -> None:
    names = inputs.keys()
    for place, item in paused(items, pause):
        if not isinstance(item, dict):
            raise InvalidArgument(texts.LIST_AMONG_OBJECTS.format(item=place))
        if item.keys() != names:
            if unknown := min(item.keys() - names, default=""):
                text = f"{texts.NO_SUCH_INPUT.format(name=unknown)}; the inputs are {_listed(names)}"
                raise _failed(place, text, unknown)
            raise InvalidArgument(texts.WRONG_KEYS.format(item=place, value=shown(item), names=_listed(names)))


def _batch(items: list[Any], dtype: int, name: str, pause: Pause, *, named: bool = True) -> np.ndarray:
    """The items as one array; they must be alike."""
    try:
        return dense(items, dtype, pause)
    except NotATensor as exc:
        place, text = exc.item, str(exc)
    alone = []
    for each in (0, place):  # what is wrong is said of the item as such, or of how it differs from the first one
        try:
            alone.append(dense(items[each], dtype, pause))
        except NotATensor as exc:
            raise _failed(each, str(exc), name, named) from None
    first, item = alone
    if item.size != first.size:
        text = texts.DIFFERENT_SIZE.format(expected=first.size, found=item.size)
    elif item.shape != first.shape:
        text = texts.DIFFERENT_SHAPE.format(expected=_bracketed(first.shape), found=_bracketed(item.shape))
    raise _failed(place, text, name, named)


def _columns(value: Any, inputs: Mapping[str, int], pause: Pause, limits: TensorLimits) -> dict[str, np.ndarray]:
    if not _is_object(value):
        if len(inputs) > 1:
            raise InvalidArgument(f"{texts.INPUTS_NOT_OBJECT}; the inputs are {_listed(inputs)}")
        value = dict.fromkeys(inputs, value)
    for name in inputs:
        if name not in value:
            raise InvalidArgument(texts.MISSING_INPUT.format(name=name))
    _require_size(value, inputs, limits)
    arrays = {}
    for name, dtype in inputs.items():
        try:
            arrays[name] = dense(value[name], dtype, pause)
        except NotATensor as exc:
            raise InvalidArgument(_naming(exc, name)) from None
    return arrays


def _require_size(values: Mapping[str, Any], inputs: Mapping[str, int], limits: TensorLimits, rows: int = 1) -> None:
    """Count along the first elements: where the others are not like them, no array is made at all."""
    numbers = strings = 0
    for name, dtype in inputs.items():
        size, value = rows, values[name]
        while isinstance(value, list) and value:
            size *= len(value)
            value = value[0]
        if dtype == types_pb2.DT_STRING:
            strings += size
        else:
            numbers += size
    limits.require(numbers, strings)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64_object(value)


def _failed(place: int, text: str, name: str, named: bool = True) -> InvalidArgument:
    """The error of one item; TF Serving names the input only where the client did."""
    if named:
        return InvalidArgument(texts.NAMED_ELEMENT_ERROR.format(item=place, name=name, error=text))
    return InvalidArgument(texts.ELEMENT_ERROR.format(item=place, error=_naming(text, name)))


def _naming(text: object, name: str) -> str:
    return f"{text} (input {name})"


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _bracketed(shape: Iterable[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
