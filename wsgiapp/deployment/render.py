"""The configuration files of the other programs, made from `conf/` and the settings."""

import os
import pwd
import resource
import shutil
import sys
from pathlib import Path

from wsgiapp.errors import SettingsError
from wsgiapp.management import models_file
from wsgiapp.settings.schema import MAX_SOCKET_PATH_BYTES, Backend, Settings
from wsgiapp.settings.templates import fill_file, replace_file

# supervisord adds its pid to its socket's path for a moment.
LONGEST_CONTROL_SOCKET_PATH = MAX_SOCKET_PATH_BYTES - len(".4194304") - 1
# What an engine may take, besides the server's own time, to stop and remove a container.
ENGINE_SECONDS = 30
# How often the socket of all workers stands in the upstream `predictions` of nginx.conf.
SPARE_ENTRIES = 8
MODELSERVER_TEMPLATES = {"embedded": "modelserver", "container": "container", "external": None}


def render(settings: Settings, *, models: bool = True) -> list[Path]:
    """Write the files to the run folder, each at once; those that changed.

    Without `models` models.config stays as it is: while a model server runs, only what it has taken is written there,
    because it is what the next one starts with.

    Raises `SettingsError` for a template with an unknown placeholder, or a home folder with too long a path.
    """
    if len(os.fsencode(settings.control_socket)) > LONGEST_CONTROL_SOCKET_PATH:
        raise SettingsError(f"WSGIAPP_HOME = {settings.home}: too long a path for Unix sockets; use a shorter one")
    nginx = find_nginx(settings)
    values = _values(settings, nginx)
    for folder in (settings.run, settings.metrics, settings.logs, settings.cache, Path(values["tmp"])):
        folder.mkdir(parents=True, exist_ok=True)
    # supervisord expands "%" in all its values.
    supervisor_values = {name: value.replace("%", "%%") for name, value in values.items()}
    own_socket = f' --socket="{supervisor_values["run"]}/%(program_name)s_%(process_num)02d.sock"'  # a worker each
    supervisor_values["own_socket"] = own_socket if nginx else ""
    programs = {
        "modelserver_program": MODELSERVER_TEMPLATES[settings.app.backend],
        "nginx_program": "nginx" if nginx else None,
    }
    for placeholder, name in programs.items():
        program = fill_file(settings.conf / f"supervisord-{name}.conf", supervisor_values) if name else ""
        supervisor_values[placeholder] = program
    files = {"supervisord.conf": fill_file(settings.conf / "supervisord.conf", supervisor_values)}
    if models:
        files["models.config"] = fill_file(settings.conf / "models.config", models_file.placeholders(settings))
    if nginx:
        files["nginx.conf"] = fill_file(settings.conf / "nginx.conf", values)
    return [path for name, text in files.items() if replace_file(path := settings.run / name, text)]


def find_nginx(settings: Settings) -> str | None:
    """The path of Nginx's program, or `None` where there is none or none is wanted."""
    if not settings.nginx.binary:
        return None
    # Debian keeps it where an ordinary user's PATH does not look.
    return shutil.which(settings.nginx.binary, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def _values(settings: Settings, nginx: str | None) -> dict[str, str]:
    http, limits = settings.http, settings.limits
    deadlines = [settings.backend.deadline_seconds, *(model.deadline_seconds for model in settings.models.values())]
    predictions, spare_predictions = _predictions(settings)
    open_files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    values = {
        "app_socket": f"unix://{settings.run}/app.sock" if nginx else f"tcp://{http.host}:{http.port}",
        "backend_listen": _listen_flags(settings.backend),
        "body_bytes": limits.body_bytes,
        "cache": settings.cache,
        "container_stop_seconds": int(http.drain_seconds) + ENGINE_SECONDS,
        "conf": settings.conf,
        "control_socket": settings.control_socket,
        "drain_seconds": http.drain_seconds,
        "home": settings.home,
        "http_host": http.host,
        "http_port": http.port,
        "log_backups": settings.log.backups,
        "log_max_bytes": settings.log.max_bytes,
        "logs": settings.logs,
        # a promotion loads, moves the label, and may have to undo both
        "management_timeout": int(3 * settings.management.seconds) + 10,
        "metrics": settings.metrics,
        "models": settings.home / "models",
        "nginx_connections": min(8192, open_files // 2),
        "nginx_workers": settings.nginx.workers,
        "open_files": open_files,
        "predictions": settings.workers * predictions + SPARE_ENTRIES * spare_predictions,
        "python": sys.executable,
        "read_timeout": int(max(deadlines)) + 5,  # the worker answers at the deadline: Nginx comes later
        "request_line_bytes": limits.request_line_bytes,
        "run": settings.run,
        "spare_predictions": spare_predictions,
        "stop_seconds": int(http.drain_seconds) + 5,
        "tmp": settings.home / "tmp",
        # supervisord refuses a mode for a TCP socket
        "socket_mode": "socket_mode=0666" if nginx else "",
        "supervisor_user": "user=root" if os.geteuid() == 0 else "",
        "user": _user_directive(settings.home),
        "worker_entries": _worker_entries(settings, predictions),
        "workers": settings.workers,
    }
    return {name: str(value) for name, value in values.items()}


def _predictions(settings: Settings) -> tuple[int, int]:
    """How many predictions each Nginx worker sends to a worker's own socket at a time, and to an entry of the common
    one; 0 would mean any number.

    Half of a worker's limit each: what comes by the common socket may all be accepted by one worker, and should not be
    refused there, at three times the cost.
    """
    share = settings.limits.inflight // 2 // settings.nginx.workers
    return max(1, share), max(1, share // SPARE_ENTRIES)


def _worker_entries(settings: Settings, predictions: int) -> str:
    """Nginx's lines for the workers' own sockets."""
    entries = [
        f'server "unix:{settings.run}/app_{number:02d}.sock" max_fails=1 fail_timeout=1s max_conns={predictions};'
        for number in range(settings.workers)
    ]
    return "\n        ".join(entries)


def _listen_flags(backend: Backend) -> str:
    """TF Serving's flags for the address; supervisord reads them as a shell would."""
    if backend.socket_path:
        return f'--port=0 --grpc_socket_path="{backend.socket_path}"'
    return f"--host={backend.host} --port={backend.port}"


def _user_directive(home: Path) -> str:
    """Nginx's workers give root's rights up, where the less privileged user can still reach the socket."""
    if os.geteuid() != 0:
        return ""
    reachable = all(folder.stat().st_mode & 0o001 for folder in [home, *home.parents] if folder.exists())
    for user in ("www-data", "nginx"):
        try:
            pwd.getpwnam(user)
        except KeyError:
            continue
        return f"user {user if reachable else 'root'};"
    return "user root;"
