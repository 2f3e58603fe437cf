"""The configuration files of the other programs, made from `conf/` and the settings."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from wsgiapp.deployment import app_server, supervisor
from wsgiapp.deployment import nginx as nginx_program
from wsgiapp.deployment.supervisor_file import fill_supervisor_file
from wsgiapp.deployment.template_values import nginx_user, template_values
from wsgiapp.errors import SettingsError
from wsgiapp.management import models_file
from wsgiapp.settings.constraints import MAX_SOCKET_PATH_BYTES
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.templates import fill_file, replace_file

# supervisord adds its pid to its socket's path for a moment.
MAX_CONTROL_SOCKET_PATH_BYTES = MAX_SOCKET_PATH_BYTES - len(".4194304") - 1
MODELSERVER_TEMPLATES = {"embedded": "modelserver", "container": "container", "external": None}
FOLDER_MODE = 0o750
INCLUDED = ("supervisor.d", "nginx.d")
USERS = "user-"  # begins the names of the user's own files among the included ones


def render(settings: Settings, *, models: bool = True) -> set[str]:
    """Write the files to the run folder; the names of those that changed, of a folder where any of its files did.

    Without `models` models.config stays as it is: while a model server runs, only what it has taken is written there,
    because it is what the next one starts with. Nothing is written before supervisord and Nginx accept all of it.

    Raises `SettingsError` for a template with an unknown placeholder, a home folder with a path that Unix sockets or
    supervisord cannot take, and for a configuration that supervisord or Nginx does not accept.
    """
    _check_home(settings)
    nginx = nginx_program.find_nginx(settings)
    if nginx is None and settings.tls.certificate:
        raise SettingsError("tls.certificate: HTTPS needs Nginx, and there is none; install it, or leave this empty")
    values = template_values(settings, nginx)
    for folder in (settings.run, settings.metrics, settings.logs, settings.cache, Path(values["tmp"])):
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    _close_to_others(settings)
    texts = _supervisor_texts(settings, values, nginx)
    if nginx:
        texts |= _nginx_texts(settings, values)
    with TemporaryDirectory(dir=settings.run, prefix="checked-") as checked:
        _check(settings, nginx, texts, Path(checked))
    if models:
        texts["models.config"] = fill_file(settings.conf / "models.config", models_file.placeholders(settings))
    changed = _remove_others(settings.run, texts) | _write(settings.run, texts)
    if models:
        (settings.run / "models.config").chmod(0o644)  # a container's user may be another one
    return changed


def _check_home(settings: Settings) -> None:
    if len(os.fsencode(settings.control_socket)) > MAX_CONTROL_SOCKET_PATH_BYTES:
        raise SettingsError(f"WSGIAPP_HOME = {settings.home}: too long a path for Unix sockets; use a shorter one")
    if set(str(settings.home)) & set("*?["):
        raise SettingsError(f"WSGIAPP_HOME = {settings.home}: supervisord cannot take a path with * ? or [")


def _close_to_others(settings: Settings) -> None:
    """Folders of earlier versions were open to all. Where root runs the stack, Nginx's workers enter the run folder by
    its group, which the sockets in it inherit."""
    for folder in (settings.run, settings.logs):
        mode = folder.stat().st_mode
        if mode & 0o007:
            folder.chmod(FOLDER_MODE)
    user = nginx_user(settings.home)
    if user and user != "root":
        os.chown(settings.run, -1, pwd.getpwnam(user).pw_gid)
        settings.run.chmod(0o2000 | FOLDER_MODE)


def _supervisor_texts(settings: Settings, values: Mapping[str, str], nginx: str | None) -> dict[str, str]:
    """The files' texts by their paths below the run folder."""
    programs = [
        MODELSERVER_TEMPLATES[settings.app.backend],
        "nginx" if nginx else None,
        "models" if settings.backend.config_poll_seconds else None,
        "watchdog" if settings.app.watchdog_seconds else None,
    ]
    templates = {
        f"supervisor.d/{name}.conf": settings.conf / "supervisor" / f"{name}.conf" for name in programs if name
    }
    templates |= {"supervisord.conf": settings.conf / "supervisord.conf", **_users(settings, "supervisor.d")}
    if settings.app.server == "uwsgi":  # which expands "%" as supervisord does
        templates["uwsgi.ini"] = settings.conf / "uwsgi.ini"
    expressions = {"app_command": app_server.command(settings, nginx)}
    return {path: fill_supervisor_file(template, values, expressions) for path, template in templates.items()}


def _nginx_texts(settings: Settings, values: Mapping[str, str]) -> dict[str, str]:
    """The files' texts by their paths below the run folder."""
    is_uwsgi = settings.app.server == "uwsgi"
    values = {**values, "uwsgi": fill_file(settings.conf / "nginx/uwsgi.conf", values) if is_uwsgi else ""}
    templates = {"nginx.conf": settings.conf / "nginx.conf", **_users(settings, "nginx.d")}
    return {path: fill_file(template, values) for path, template in templates.items()}


def _users(settings: Settings, folder: str) -> dict[str, Path]:
    """Files of the user's own, to be included; the folder may be missing."""
    return {f"{folder}/{USERS}{path.name}": path for path in (settings.conf / folder).glob("*.conf")}


def _check(settings: Settings, nginx: str | None, texts: Mapping[str, str], folder: Path) -> None:
    """Raise `SettingsError` for what the programs do not accept; `folder` is a place to write the files for them."""
    _write(folder, texts)
    problems = {"supervisord": supervisor.configuration_problem(folder / "supervisord.conf")}
    if nginx:
        problems["Nginx"] = nginx_program.configuration_problem(settings, nginx, folder / "nginx.conf")
    for program, problem in problems.items():
        for included in INCLUDED:  # they speak of the files here, and the user knows those in conf/
            problem = problem.replace(f"{folder / included}/{USERS}", f"{settings.conf / included}/")
        if problem:
            raise SettingsError(
                f"{program} does not accept its configuration:\n{problem.replace(str(folder), str(settings.run))}"
            )


def _write(folder: Path, texts: Mapping[str, str]) -> set[str]:
    """The first parts of the paths of those files that changed."""
    for included in INCLUDED:
        (folder / included).mkdir(exist_ok=True)
    return {Path(path).parts[0] for path, text in texts.items() if replace_file(folder / path, text)}


def _remove_others(folder: Path, texts: Mapping[str, str]) -> set[str]:
    """Remove included files that are not to be included any more; the names of their folders."""
    others = [path for name in INCLUDED for path in (folder / name).glob("*") if f"{name}/{path.name}" not in texts]
    for path in others:
        path.unlink()
    return {path.parent.name for path in others}


def nginx_files(run: Path) -> dict[Path, str]:
    """What Nginx was started with, or reloaded last: the texts by their paths."""
    paths = [run / "nginx.conf", *(run / "nginx.d").glob("*.conf")]
    return {path: path.read_text(encoding="utf-8") for path in paths if path.exists()}


def restore_nginx_files(run: Path, texts: Mapping[Path, str]) -> None:
    """Undo what `render` wrote for Nginx: it is what the next Nginx would start with."""
    for path in nginx_files(run).keys() - texts.keys():
        path.unlink()
    for path, text in texts.items():
        replace_file(path, text)
