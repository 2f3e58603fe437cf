"""Read the settings: a default, then `conf/wsgiapp.toml`, then a `WSGIAPP_*` variable; the later one wins.

A key `port` of the table `[http]` is overridden by the variable `WSGIAPP_HTTP_PORT`. Two more variables say where
things are: `WSGIAPP_CONF` (the folder with `wsgiapp.toml`) and `WSGIAPP_HOME` (the folder for all that is made at
run time).

Dataclasses and `tomllib` instead of a library. Measured, import and load in each process: this 10 ms and 1.0 MB;
msgspec 0.22 10 ms and 1.9 MB, but it accepts infinity, reads no variables, and names neither the value nor a similar
key; pydantic-settings 2.16 100 ms and 22 MB.
"""

import difflib
import os
import tomllib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wsgiapp.errors import SettingsError
from wsgiapp.settings.constraints import FILE_PATH
from wsgiapp.settings.conversion import EXPECTED, convert, literal
from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.schema import REPOSITORY, TABLES, Settings
from wsgiapp.settings.tables.models import MODEL_NAME, RESERVED_MODEL_NAMES, Model

ENVIRONMENT_PREFIX = "WSGIAPP_"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this process.

    Raises `SettingsError` for an unknown key, a value of the wrong type or one that its constraint rejects, or a file
    that cannot be read or parsed.
    """
    environ = os.environ if environ is None else environ
    conf = _folder("WSGIAPP_CONF", environ, REPOSITORY / "conf")
    home = _folder("WSGIAPP_HOME", environ, REPOSITORY / "var")
    document = _read_file(conf / "wsgiapp.toml")
    _reject_unknown("", document, [*TABLES, "models"])
    _reject_unknown_variables(environ)
    tables = {name: _read_table(name, kind, document.get(name, {}), environ) for name, kind in TABLES.items()}
    settings = Settings(home=home, conf=conf, models=_read_models(document.get("models", {})), **tables)
    _check_together(settings)
    return settings


def _folder(variable: str, environ: Mapping[str, str], default: Path) -> Path:
    value = environ.get(variable)
    if value and (violation := FILE_PATH.violation(value)):
        raise SettingsError(f"{variable} = {literal(value)}: {violation}")
    return Path(value or default).absolute()


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"{path}: {exc.strerror}; WSGIAPP_CONF has to name the folder with wsgiapp.toml") from exc
    except ValueError as exc:  # of the TOML, of its encoding, or a number with too many digits
        raise SettingsError(f"{path}: {exc}") from exc


def _read_table(table: str, kind: type, values: Any, environ: Mapping[str, str], **more: Any) -> Any:
    """A table's dataclass, with what the file and the variables set, and `more`, which is no setting."""
    _require_table(table, values)
    settings = {field.name: declaration for field, declaration in declarations(kind)}
    _reject_unknown(table, values, settings)
    hints = typing.get_type_hints(kind)
    chosen = {}
    for name, declaration in settings.items():
        variable = variable_name(table, name)
        if variable in environ:
            chosen[name] = convert(variable, environ[variable], hints[name], declaration, from_text=True)
        elif name in values:
            chosen[name] = convert(f"{table}.{name}", values[name], hints[name], declaration)
    return kind(**chosen, **more)


def _read_models(tables: Any) -> dict[str, Model]:
    _require_table("models", tables)
    models = {}
    for name, values in tables.items():
        if not MODEL_NAME.fullmatch(name) or name in RESERVED_MODEL_NAMES:
            raise SettingsError(
                f"models.{name}: not a name for a model (at most 100 letters, digits, `_`, `-`, `.`; not `v1`)"
            )
        model = _read_table(f"models.{name}", Model, values, {}, name=name)
        if not model.pipeline:
            raise SettingsError(f"models.{name}.pipeline: missing; it names what prepares the model's input")
        if (model.version is not None) + bool(model.label) + bool(model.split) > 1:
            raise SettingsError(f"models.{name}: more than one of version, label and split is set; keep one")
        models[name] = model
    return models


def _check_together(settings: Settings) -> None:
    """What several settings must satisfy together."""
    if settings.default_model and settings.default_model not in settings.models:
        known = ", ".join(settings.models)
        raise SettingsError(f"app.default_model = {literal(settings.default_model)}: not a configured model ({known})")
    if settings.http.cors_origins.strip(" ,") == "*" and settings.http.cors_credentials:
        raise SettingsError(
            'http.cors_credentials = true: not with http.cors_origins = "*", by which any page could act for whoever '
            "looks at it; name the origins"
        )
    _check_ports(settings)
    _check_tls(settings)
    path = settings.backend.metrics_path
    if path and path == settings.http.metrics_path:
        raise SettingsError(f"backend.metrics_path = {literal(path)}: http.metrics_path has the same value")


def _check_ports(settings: Settings) -> None:
    http, backend = settings.http, settings.backend
    taken = {http.port: "http.port"}
    if not backend.socket_path:
        taken[backend.port] = "backend.address"
    others = {"backend.rest_port": backend.rest_port}
    if http.admin_port != http.port:
        others["http.admin_port"] = http.admin_port
    if settings.tls.certificate:
        others["tls.https_port"] = settings.tls.https_port
    for key, port in others.items():
        if port in taken:
            raise SettingsError(f"{key} = {port}: {taken[port]} has the same port")
        if port:
            taken[port] = key
    if http.proxy_protocol and not http.trusted_proxies.strip(" ,"):
        raise SettingsError("http.proxy_protocol = true: http.trusted_proxies has to name who may speak it")
    if http.proxy_protocol and http.admin_port in (0, http.port):
        raise SettingsError(
            "http.proxy_protocol = true: http.admin_port has to be a port of its own, because `make up` asks there "
            "without a proxy"
        )


def _check_tls(settings: Settings) -> None:
    tls = settings.tls
    if bool(tls.certificate) != bool(tls.key):
        missing = "key" if tls.certificate else "certificate"
        raise SettingsError(f"tls.{missing}: missing; HTTPS needs both tls.certificate and tls.key")
    if tls.client_ca and not tls.certificate:
        raise SettingsError("tls.client_ca: clients' certificates need HTTPS, and tls.certificate is empty")
    if tls.client_ca and tls.client_certificates == "required" and not tls.redirect:
        raise SettingsError(
            "tls.redirect = false: http.port would serve clients without a certificate, and tls.client_certificates is "
            '"required"; set it to true, or tls.client_certificates to "optional"'
        )


def _require_table(table: str, values: Any) -> None:
    if not isinstance(values, dict):
        raise SettingsError(f"{table} = {literal(values)}: {EXPECTED[dict]}")


def variable_name(table: str, name: str) -> str:
    """The variable that overrides a key of a table."""
    return f"{ENVIRONMENT_PREFIX}{table}_{name}".upper()


def _reject_unknown(table: str, values: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in values:
        if key not in known:
            raise SettingsError(f"{table + '.' if table else ''}{key}: no such setting{_hint(key, known)}")


def _reject_unknown_variables(environ: Mapping[str, str]) -> None:
    known = {"WSGIAPP_HOME", "WSGIAPP_CONF"}
    known |= {variable_name(table, field.name) for table, kind in TABLES.items() for field, _ in declarations(kind)}
    for variable in environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise SettingsError(f"{variable}: no such setting{_hint(variable, sorted(known))}")


def _hint(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
