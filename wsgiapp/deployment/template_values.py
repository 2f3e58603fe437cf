"""What `@{name}` stands for in the templates of `conf/`."""

import os
import pwd
import resource
import sys
from pathlib import Path

from wsgiapp.deployment import app_server, nginx_cors
from wsgiapp.deployment.nginx import FLASK_ERRORS, error_locations
from wsgiapp.deployment.serving_flags import serving_flags
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.tables.backend import Backend

# What an engine may take, besides the server's own time, to stop and remove a container.
ENGINE_SECONDS = 30
# How often the socket of all workers stands in the upstream `predictions` of nginx.conf: Nginx tries each entry once,
# and each cached connection that turns out to be closed uses up an entry, too.
BACKUP_ENTRIES = 8
INDENT = "\n        "


def template_values(settings: Settings, nginx: str | None) -> dict[str, str]:
    """The values by the placeholders' names; `nginx` is Nginx's program."""
    settings = app_server.effective_settings(settings)
    http, limits = settings.http, settings.limits
    deadlines = [settings.backend.deadline_seconds, *(model.deadline_seconds for model in settings.models.values())]
    predictions, backup_predictions = _predictions(settings)
    max_predictions = settings.workers * predictions + BACKUP_ENTRIES * backup_predictions
    read_timeout = int(max(deadlines)) + 5  # the worker answers at the deadline: Nginx comes later
    # a promotion loads, moves the label, and may have to undo both
    management_timeout = int(3 * settings.management.seconds) + 10
    nginx_user = _nginx_user(settings.home)
    manages = settings.management.token or settings.credentials_file.exists()
    open_files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    values = {
        "app_socket": f"unix://{settings.run}/app.sock" if nginx else f"tcp://{http.host}:{http.port}",
        "backend_listen": _listen_flags(settings.backend),
        "backup_entries": _backup_entries(settings, backup_predictions),
        "body_bytes": limits.body_bytes,
        "cache": settings.cache,
        "container_stop_seconds": int(http.drain_seconds) + ENGINE_SECONDS,
        "conf": settings.conf,
        "control_socket": settings.control_socket,
        "cors_maps": nginx_cors.maps(settings),
        "cors_preflights": nginx_cors.preflights(settings),
        "drain_seconds": http.drain_seconds,
        "error_locations": error_locations(settings, max_predictions),
        "flask_errors": FLASK_ERRORS if settings.http.compatibility == "flask" else "",
        # Nginx has stopped waiting; without any token /v1/config is closed
        "harakiri_seconds": max(read_timeout, management_timeout if manages else 0) + 10,
        "home": settings.home,
        "http_host": http.host,
        "http_port": http.port,
        "log_backups": settings.log.backups,
        "log_max_bytes": settings.log.max_bytes,
        "logs": settings.logs,
        "management_timeout": management_timeout,
        "metrics": settings.metrics,
        "models": settings.home / "models",
        "nginx_connections": min(8192, open_files // 2),
        "nginx_workers": settings.nginx.workers,
        "open_files": open_files,
        "python": sys.executable,
        "read_timeout": read_timeout,
        "request_line_bytes": limits.request_line_bytes,
        "run": settings.run,
        "stop_seconds": int(http.drain_seconds) + 5,
        "tmp": settings.home / "tmp",
        "serving_flags": " ".join([*serving_flags(settings.backend), *_operations_flag(settings.backend)]),
        # supervisord rejects a mode for a TCP socket
        "socket_mode": "socket_mode=0666" if nginx else "",
        "supervisor_user": "user=root" if os.geteuid() == 0 else "",
        "user": f"user {nginx_user};" if nginx_user else "",
        "uwsgi_socket_owner": f"chown-socket = {nginx_user}" if nginx_user and nginx else "",
        "worker_entries": _worker_entries(settings, predictions),
        "workers": settings.workers,
        **app_server.template_values(settings, nginx),
    }
    return {name: str(value) for name, value in values.items()}


def _predictions(settings: Settings) -> tuple[int, int]:
    """How many predictions each Nginx worker sends to a worker's own socket at a time, and to an entry of the common
    one; 0 would mean any number.

    Half of a worker's limit each: what comes by the common socket may all be accepted by one worker, and should not be
    rejected there, at three times the cost.
    """
    share = settings.limits.inflight // 2 // settings.nginx.workers
    return max(1, share), max(1, share // BACKUP_ENTRIES)


def _worker_entries(settings: Settings, predictions: int) -> str:
    """Nginx's lines for the workers' own sockets; gunicorn and uWSGI have none, and the common one takes all."""
    if settings.app.server != "builtin":
        share = max(1, predictions * settings.workers // BACKUP_ENTRIES)
        return INDENT.join([f'server "unix:{settings.run}/app.sock" max_fails=0 max_conns={share};'] * BACKUP_ENTRIES)
    entries = [
        f'server "unix:{settings.run}/app_{number:02d}.sock" max_fails=1 fail_timeout=1s max_conns={predictions};'
        for number in range(settings.workers)
    ]
    return INDENT.join(entries)


def _backup_entries(settings: Settings, predictions: int) -> str:
    """Nginx's lines for the socket of all workers, as the last resort."""
    entry = f'server "unix:{settings.run}/app.sock" backup max_fails=0 max_conns={predictions};'
    return INDENT.join([entry] * BACKUP_ENTRIES)


def _listen_flags(backend: Backend) -> str:
    """TF Serving's flags for the address; supervisord reads them as a shell would."""
    if backend.socket_path:
        return f'--host={backend.rest_host} --port=0 --grpc_socket_path="{backend.socket_path}"'
    return f"--host={backend.host} --port={backend.port}"


def _operations_flag(backend: Backend) -> list[str]:
    """Only the built-in server has it."""
    return [f'--operation_libraries="{backend.operation_libraries}"'] if backend.operation_libraries else []


def _nginx_user(home: Path) -> str:
    """As whom Nginx's workers drop root's rights, where that user can still reach the socket; empty without root's."""
    if os.geteuid() != 0:
        return ""
    reachable = all(folder.stat().st_mode & 0o001 for folder in [home, *home.parents] if folder.exists())
    for user in ("www-data", "nginx"):
        try:
            pwd.getpwnam(user)
        except KeyError:
            continue
        return user if reachable else "root"
    return "root"
