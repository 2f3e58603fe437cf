"""Classify and Regress requests: JSON objects -> `tf.Example`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import INT64_MAX, Example, Feature, Input
from wsgiapp.tfserving.rest_json.document import kind, shown
from wsgiapp.tfserving.rest_json.limits import DEFAULT_LIMITS, TensorLimits
from wsgiapp.tfserving.rest_json.pieces import Pause, no_pause, pieces_of
from wsgiapp.tfserving.rest_json.tensors import decode_base64_object, is_base64_object, lossy

# The list of a feature that values of a JSON type go to, and TF Serving's name of its type.
LISTS: Mapping[type, str] = {
    float: "float_list",
    int: "int64_list",
    bool: "int64_list",
    str: "bytes_list",
    dict: "bytes_list",
}
TYPE_NAMES: Mapping[str, str] = {"float_list": "float", "int64_list": "int64", "bytes_list": "bytes"}
EXAMPLES_OF_A_PIECE = 256
MAX_FLOAT32 = float(np.finfo(np.float32).max)


def read_examples(document: Mapping[str, Any], pause: Pause = no_pause, limits: TensorLimits = DEFAULT_LIMITS) -> Input:
    """The `examples`, with their `context` where there is one; `pause` is called where there are many.

    Raises `TooLarge` for more than `limits`, an example being counted like a string, and `InvalidArgument` with TF
    Serving's texts.
    """
    message = Input()
    room = _Room(limits)
    if "context" in document:
        _fill(message.example_list_with_context.context, document["context"], pause, room)
        examples = message.example_list_with_context.examples
    else:
        examples = message.example_list.examples
    if "examples" not in document:
        raise InvalidArgument(texts.NO_EXAMPLES_KEY.format(value=shown(document)))
    items = document["examples"]
    if not isinstance(items, list):
        raise InvalidArgument(texts.EXAMPLES_NOT_LIST.format(value=shown(document)))
    if not items:
        raise InvalidArgument(texts.EXAMPLES_EMPTY.format(value=shown(document)))
    room.take(strings=len(items))
    for place, item in enumerate(items):
        if place % EXAMPLES_OF_A_PIECE == EXAMPLES_OF_A_PIECE - 1:
            pause()
        _fill(examples.add(), item, pause, room)
    return message


class _Room:
    """What is left of the limits."""

    def __init__(self, limits: TensorLimits) -> None:
        self._limits = limits
        self._numbers = self._strings = 0

    def take(self, numbers: int = 0, strings: int = 0) -> None:
        self._numbers += numbers
        self._strings += strings
        self._limits.require(self._numbers, self._strings)


def _fill(example: Example, value: Any, pause: Pause, room: _Room) -> None:
    if not isinstance(value, dict):
        raise InvalidArgument(texts.EXAMPLE_NOT_OBJECT.format(kind=kind(value)))
    features = example.features.feature
    for name, content in value.items():
        values = content if isinstance(content, list) else [content]
        wanted = LISTS.get(type(values[0]), "") if values else ""
        if wanted == "bytes_list":
            room.take(strings=len(values))
        else:
            room.take(numbers=len(values))
        for piece in pieces_of(values, pause):
            _extend(features[name], name, piece, wanted, pause)


def _extend(feature: Feature, name: str, values: list[Any], wanted: str, pause: Pause) -> None:
    if not values:
        return
    if not wanted or {LISTS.get(each) for each in set(map(type, values))} != {wanted}:
        raise _mixed(name, values, wanted)
    if wanted == "float_list":
        if max(map(abs, _finite(values)), default=0) > MAX_FLOAT32:
            raise InvalidArgument(lossy(max(_finite(values), key=abs), "float"))
    elif wanted == "int64_list":
        if max(values) > INT64_MAX:
            raise InvalidArgument(texts.FEATURE_UINT64.format(name=name))
        values = list(map(int, values))  # booleans are numbers here
    else:
        values = [_bytes(name, value, pause) for value in values]
    getattr(feature, wanted).value.extend(values)


def _finite(values: list[float]) -> list[float]:
    return [value for value in values if abs(value) < float("inf")]


def _bytes(name: str, value: str | dict[str, Any], pause: Pause) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not is_base64_object(value):
        raise _unexpected(name, value)
    try:
        return decode_base64_object(value, pause)
    except InvalidArgument as exc:
        raise InvalidArgument(f"Feature: {name}: {exc}") from exc


def _mixed(name: str, values: list[Any], wanted: str) -> InvalidArgument:
    """What is wrong with the first value that has no place in the list of the first one."""
    odd = next(value for value in values if LISTS.get(type(value)) is None or LISTS[type(value)] != wanted)
    if type(odd) not in LISTS or (isinstance(odd, dict) and not is_base64_object(odd)):
        return _unexpected(name, odd)
    return InvalidArgument(texts.FEATURE_MIXED.format(name=name, expected=TYPE_NAMES[wanted]))


def _unexpected(name: str, value: Any) -> InvalidArgument:
    return InvalidArgument(texts.FEATURE_WRONG_TYPE.format(name=name, kind=kind(value)))
