"""Read the settings: a default, then `conf/wsgiapp.toml`, then a `WSGIAPP_*` variable; the later one wins.

A key `port` of the table `[http]` is overridden by the variable `WSGIAPP_HTTP_PORT`. Two more variables say where
things are: `WSGIAPP_CONF` (the folder with `wsgiapp.toml`) and `WSGIAPP_HOME` (the folder for all that is made at
run time).
"""

import difflib
import math
import os
import re
import shlex
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from wsgiapp.errors import SettingsError
from wsgiapp.settings.schema import (
    BACKENDS,
    CONTAINER_PATTERNS,
    ENVIRONMENT_PREFIX,
    LEAST_CONTAINER_MEMORY,
    MAX_SOCKET_PATH_BYTES,
    MODEL_NAME,
    PULL_POLICIES,
    REPOSITORY,
    RESERVED_MODEL_NAMES,
    SECTIONS,
    Backend,
    Container,
    Model,
    Settings,
)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this process.

    Raises `SettingsError` for an unknown key, a value of the wrong kind or outside its range, or a file that does
    not parse.
    """
    environ = os.environ if environ is None else environ
    conf = Path(environ.get("WSGIAPP_CONF") or REPOSITORY / "conf").absolute()
    home = Path(environ.get("WSGIAPP_HOME") or REPOSITORY / "var").absolute()
    document = _read(conf / "wsgiapp.toml")
    _refuse_unknown("", document, [*SECTIONS, "models"])
    _refuse_unknown_variables(environ)
    sections = {name: _section(name, kind, document.get(name, {}), environ) for name, kind in SECTIONS.items()}
    return _checked(Settings(home=home, conf=conf, models=_models(document.get("models", {})), **sections))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise SettingsError(f"{path}: no such file; set WSGIAPP_CONF to the folder that holds it") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc


def _section(table: str, kind: type, values: Any, environ: Mapping[str, str]) -> Any:
    _require_table(table, values)
    hints = typing.get_type_hints(kind)
    _refuse_unknown(table, values, hints)
    chosen = {}
    for each in fields(kind):
        variable = f"{ENVIRONMENT_PREFIX}{table}_{each.name}".upper()
        if variable in environ:
            chosen[each.name] = _converted(variable, environ[variable], hints[each.name], each, from_text=True)
        elif each.name in values:
            chosen[each.name] = _converted(f"{table}.{each.name}", values[each.name], hints[each.name], each)
    return kind(**chosen)


def _models(tables: Any) -> dict[str, Model]:
    _require_table("models", tables)
    models = {}
    for name, values in tables.items():
        if not MODEL_NAME.fullmatch(name) or name in RESERVED_MODEL_NAMES:
            raise SettingsError(f"models.{name}: not a name for a model (letters, digits, `_`, `-`, `.`; not `v1`)")
        model = _section(f"models.{name}", Model, {**values, "name": name}, {})
        if not model.pipeline:
            raise SettingsError(f"models.{name}.pipeline: missing; it names what prepares the model's input")
        if (model.version is not None) + bool(model.label) + bool(model.split) > 1:
            raise SettingsError(f"models.{name}: more than one of version, label and split is set; keep one")
        for label, share in model.split.items():
            if type(share) not in (int, float) or not 0 < share < math.inf:
                raise SettingsError(f"models.{name}.split.{label} = {_shown(share)}: not a share, a number above 0")
        models[name] = model
    return models


def _checked(settings: Settings) -> Settings:
    if settings.default_model and settings.default_model not in settings.models:
        known = ", ".join(settings.models)
        raise SettingsError(f'app.default_model = "{settings.default_model}": not a configured model ({known})')
    _require_choice("app.backend", settings.app.backend, BACKENDS)
    _require_choice("log.level", settings.log.level, ("debug", "info", "warning", "error"))
    _require_address(settings.backend)
    _require_container(settings.container)
    paths = {"http": settings.http.metrics_path, "backend": settings.backend.metrics_path}
    for table, path in paths.items():
        if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)*", path):
            raise SettingsError(f'{table}.metrics_path = "{path}": not a path like /metrics')
    if paths["http"] and paths["http"] == paths["backend"]:
        raise SettingsError(f'backend.metrics_path = "{paths["backend"]}": http.metrics_path is there already')
    return settings


def _require_choice(key: str, value: str, choices: typing.Sequence[str]) -> None:
    if value not in choices:
        raise SettingsError(f'{key} = "{value}": not {", ".join(choices[:-1])} or {choices[-1]}')


def _require_address(backend: Backend) -> None:
    where = f'backend.address = "{backend.address}"'
    path = backend.socket_path
    if path is None and not re.fullmatch(r"[^\s:]+:\d{1,5}", backend.address):
        raise SettingsError(f"{where}: not host:port or unix:/absolute/path")
    if path is None and not 1 <= backend.port <= 65535:
        raise SettingsError(f"{where}: a port is from 1 to 65535")
    if path is not None and not path.is_absolute():
        raise SettingsError(f"{where}: a Unix socket needs an absolute path, like unix:/run/serving.sock")
    if path is not None and len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise SettingsError(
            f"{where}: longer than the {MAX_SOCKET_PATH_BYTES} bytes that a Unix socket's path can have"
        )


def _require_container(container: Container) -> None:
    _require_choice("container.pull", container.pull, PULL_POLICIES)
    if container.memory_bytes and container.memory_bytes < LEAST_CONTAINER_MEMORY:
        raise SettingsError(
            f"container.memory_bytes = {container.memory_bytes}: must be 0 or at least {LEAST_CONTAINER_MEMORY}"
        )
    for key, pattern, wanted in CONTAINER_PATTERNS:
        value = getattr(container, key)
        if not re.fullmatch(pattern, value):
            raise SettingsError(f'container.{key} = "{value}": not {wanted}')
    for key in ("engine", "arguments", "flags"):
        try:
            shlex.split(getattr(container, key))
        except ValueError as exc:
            raise SettingsError(f"container.{key} = {_shown(getattr(container, key))}: {exc}") from exc


def _require_table(table: str, values: Any) -> None:
    if not isinstance(values, dict):
        raise SettingsError(f"{table} = {_shown(values)}: not a table")


def _refuse_unknown(table: str, values: Mapping[str, Any], known: typing.Iterable[str]) -> None:
    for key in values:
        if key not in known:
            raise SettingsError(f"{table + '.' if table else ''}{key}: no such setting{_hint(key, known)}")


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {"WSGIAPP_HOME", "WSGIAPP_CONF"}
    known |= {
        f"{ENVIRONMENT_PREFIX}{table}_{each.name}".upper() for table, kind in SECTIONS.items() for each in fields(kind)
    }
    for variable in environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise SettingsError(f"{variable}: no such setting{_hint(variable, known)}")


def _hint(key: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _converted(key: str, value: Any, hint: Any, each: Field[Any], *, from_text: bool = False) -> Any:
    """`value` as the field's type. Text is parsed only where it comes from a variable: "4" in the file is a slip."""
    if typing.get_origin(hint) is Mapping:
        kind: Any = dict
    else:
        kind = next((k for k in typing.get_args(hint) if k is not types.NoneType), hint)
    try:
        converted = _parse(kind, value) if from_text else _coerce(kind, value)
    except ValueError as exc:
        raise SettingsError(f"{key} = {_shown(value)}: {exc}") from exc
    least, most = each.metadata["least"], each.metadata["most"]
    if (least is not None and converted < least) or (most is not None and converted > most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise SettingsError(f"{key} = {_shown(value)}: must be {bounds}")
    return converted


def _parse(kind: type, text: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("not true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(WANTED[kind]) from None


def _coerce(kind: type, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(WANTED[kind])
    return value


WANTED = {
    int: "not a whole number",
    float: "not a number",
    bool: "not true or false",
    str: "not a text in quotes",
    dict: "not a table",
}


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
