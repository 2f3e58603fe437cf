"""The configuration files of the other programs, made from `conf/` and the settings."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from wsgiapp.deployment.nginx import configuration_problem, find_nginx
from wsgiapp.deployment.template_values import template_values
from wsgiapp.errors import SettingsError
from wsgiapp.management import models_file
from wsgiapp.settings.constraints import MAX_SOCKET_PATH_BYTES
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.templates import fill_file, replace_file

# supervisord adds its pid to its socket's path for a moment.
MAX_CONTROL_SOCKET_PATH_BYTES = MAX_SOCKET_PATH_BYTES - len(".4194304") - 1
MODELSERVER_TEMPLATES = {"embedded": "modelserver", "container": "container", "external": None}


def render(settings: Settings, *, models: bool = True) -> list[Path]:
    """Write the files to the run folder, each at once; those that changed, a folder where any of its files did.

    Without `models` models.config stays as it is: while a model server runs, only what it has taken is written there,
    because it is what the next one starts with. What Nginx does not accept is undone.

    Raises `SettingsError` for a template with an unknown placeholder, a home folder with a path that Unix sockets or
    supervisord cannot take, and for a configuration that Nginx does not accept.
    """
    _check_home(settings)
    nginx = find_nginx(settings)
    values = template_values(settings, nginx)
    supervisor_values = _supervisor_values(settings, values, nginx)
    for folder in (settings.run, settings.metrics, settings.logs, settings.cache, Path(values["tmp"])):
        folder.mkdir(parents=True, exist_ok=True)
    programs = [name for name in (MODELSERVER_TEMPLATES[settings.app.backend], "nginx" if nginx else None) if name]
    files = {"supervisord.conf": fill_file(settings.conf / "supervisord.conf", supervisor_values)}
    if models:
        files["models.config"] = fill_file(settings.conf / "models.config", models_file.placeholders(settings))
    own_programs = {
        f"{name}.conf": settings.conf / "supervisor" / f"{name}.conf" for name in sorted(filter(None, programs))
    }
    changed = _write(settings.run, files)
    changed += _write_folder(
        settings.run / "supervisor.d", {**own_programs, **_users(settings, "supervisor.d")}, supervisor_values
    )
    if nginx:
        changed += _write_for_nginx(settings, nginx, values)
    return changed


def _check_home(settings: Settings) -> None:
    if len(os.fsencode(settings.control_socket)) > MAX_CONTROL_SOCKET_PATH_BYTES:
        raise SettingsError(f"WSGIAPP_HOME = {settings.home}: too long a path for Unix sockets; use a shorter one")
    if set(str(settings.home)) & set("*?["):
        raise SettingsError(
            f"WSGIAPP_HOME = {settings.home}: supervisord cannot include files from a path with * ? or ["
        )


def _users(settings: Settings, folder: str) -> dict[str, Path]:
    """Files of the user's own, to be included; the folder may be missing."""
    return {f"user-{path.name}": path for path in sorted((settings.conf / folder).glob("*.conf"))}


def _write_for_nginx(settings: Settings, nginx: str, values: Mapping[str, str]) -> list[Path]:
    before = {path: path.read_bytes() for path in _files_of_nginx(settings)}
    changed = _write(settings.run, {"nginx.conf": fill_file(settings.conf / "nginx.conf", values)})
    changed += _write_folder(settings.run / "nginx.d", _users(settings, "nginx.d"), values)
    if changed and (problem := configuration_problem(settings, nginx)):
        for path in _files_of_nginx(settings):
            path.unlink()
        for path, content in before.items():
            path.write_bytes(content)
        raise SettingsError(f"Nginx does not accept its configuration:\n{problem}")
    return changed


def _files_of_nginx(settings: Settings) -> Iterator[Path]:
    yield from settings.run.glob("nginx.conf")
    yield from list((settings.run / "nginx.d").glob("*.conf"))


def _write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Those of the files that changed."""
    return [path for name, text in files.items() if replace_file(path := folder / name, text)]


def _write_folder(folder: Path, templates: Mapping[str, Path], values: Mapping[str, str]) -> list[Path]:
    """Have a folder hold these files alone; itself, where anything changed."""
    folder.mkdir(exist_ok=True)
    texts = {name: fill_file(template, values) for name, template in templates.items()}
    stale = [path for path in folder.iterdir() if path.name not in texts]
    for path in stale:
        path.unlink()
    return [folder] if _write(folder, texts) or stale else []


def _supervisor_values(settings: Settings, values: Mapping[str, str], nginx: str | None) -> dict[str, str]:
    # supervisord expands "%" in all its values.
    escaped = {name: value.replace("%", "%%") for name, value in values.items()}
    own_socket = f' --socket="{escaped["run"]}/%(program_name)s_%(process_num)02d.sock"'  # a worker each
    return {**escaped, "own_socket": own_socket if nginx else ""}
