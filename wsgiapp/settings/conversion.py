"""One value from the file or from a variable, as the type that its setting declares."""

import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from wsgiapp.errors import SettingsError
from wsgiapp.settings.constraints import Constraint
from wsgiapp.settings.declaration import Declaration

EXPECTED = {
    int: "not a whole number",
    float: "not a number",
    bool: "not true or false",
    str: "not a text in quotes",
    dict: "not a table",
}


def convert(key: str, value: Any, hint: Any, declaration: Declaration, *, from_text: bool = False) -> Any:
    """`value` as the type of `hint`. Raises `SettingsError` for another type, or where the constraint is violated.

    Text is parsed only where it comes from a variable: "4" for a number in the file is a slip.
    """
    kind = _python_type(hint)
    shown = "" if declaration.secret else f" = {literal(value)}"
    try:
        converted = _parse(kind, value) if from_text else _coerce(kind, value)
    except ValueError as exc:
        raise SettingsError(f"{key}{shown}: {exc}") from exc
    if declaration.constraint is not None:
        _check(key, converted, declaration.constraint, shown)
    return converted


def literal(value: Any) -> str:
    """A value as TOML writes it, for an error's text."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(key: str, value: Any, constraint: Constraint, shown: str) -> None:
    if isinstance(value, dict):
        for name, each in value.items():
            _check(f"{key}.{name}", each, constraint, f" = {literal(each)}")
    elif violation := constraint.violation(value):
        raise SettingsError(f"{key}{shown}: {violation}")


def _python_type(hint: Any) -> type:
    """The type that a declared one has in the file; `None` stands for a setting that is left out."""
    if typing.get_origin(hint) is Mapping:
        return dict
    return next((kind for kind in typing.get_args(hint) if kind is not types.NoneType), hint)


def _parse(kind: type, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(EXPECTED[bool])
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(EXPECTED[kind]) from None


def _coerce(kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:  # TOML's integers are unlimited here
            return math.inf if value > 0 else -math.inf
    if type(value) is not kind:
        raise ValueError(EXPECTED[kind])
    return value
