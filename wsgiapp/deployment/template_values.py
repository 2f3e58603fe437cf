"""What `@{name}` stands for in the templates of `conf/`."""

import os
import pwd
import resource
import sys
from pathlib import Path

from wsgiapp.deployment import app_server, nginx_clients, nginx_cors, nginx_errors, nginx_listeners
from wsgiapp.deployment.nginx import version
from wsgiapp.deployment.serving_flags import serving_flags
from wsgiapp.inference.waiting_room import DOOR
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.tables.backend import Backend

# An Nginx that ends does not close connections that were used within the last second: their next answer says that they
# end. Older ones close them at once, also while a request is on its way.
KEEPS_OPEN_SINCE = (1, 27, 4)
# What an engine may take, besides the server's own time, to stop and remove a container.
ENGINE_SECONDS = 30
# How often the socket of all workers stands in the upstream `predictions` of nginx.conf: Nginx tries each entry once,
# and each cached connection that turns out to be closed uses up an entry, too.
BACKUP_ENTRIES = 8
# Predictions that wait while there is no worker: what comes within the default deadline, at 400 a second.
WAITING_PREDICTIONS = 2000
INDENT = "\n        "
OUTER_INDENT = "\n    "
# Idle connections that Nginx keeps to the workers for predictions.
KEPT_CONNECTIONS = 512
# Of a worker's connections, predictions of all models together take so much: the rest is for whatever else is asked.
PREDICTIONS_SHARE = 0.75
# Words that stand for themselves in Nginx's `map`.
MAP_PARAMETERS = ("default", "hostnames", "include", "volatile")


def template_values(settings: Settings, nginx: str | None) -> dict[str, str]:
    """The values by the placeholders' names; `nginx` is Nginx's program."""
    settings = nginx_listeners.effective_settings(app_server.effective_settings(settings))
    http, limits = settings.http, settings.limits
    deadlines = [settings.backend.deadline_seconds, *(model.deadline_seconds for model in settings.models.values())]
    predictions, backup_predictions = _predictions(settings)
    max_predictions = settings.workers * predictions + BACKUP_ENTRIES * backup_predictions
    read_timeout = int(max(deadlines)) + 5  # the worker answers at the deadline: Nginx comes later
    # a promotion loads, moves the label, and may have to undo both
    management_timeout = int(3 * settings.management.seconds) + 10
    user = nginx_user(settings.home)
    manages = settings.management.token or settings.credentials_file.exists()
    open_files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    headers = [*nginx_errors.own_headers(), *nginx_listeners.headers(settings)]
    values = {
        "app_socket": f"unix://{settings.run}/app.sock" if nginx else f"tcp://{http.host}:{http.port}",
        "backend_listen": _listen_flags(settings.backend),
        "body_bytes": limits.body_bytes,
        "cache": settings.cache,
        "container_stop_seconds": int(http.drain_seconds) + ENGINE_SECONDS,
        "conf": settings.conf,
        "default_model": f'"{settings.default_model}"',
        "control_socket": settings.control_socket,
        "cors_maps": nginx_cors.maps(settings),
        "client_body_seconds": settings.nginx.client_body_seconds,
        "client_header_seconds": settings.nginx.client_header_seconds,
        "client_limits": INDENT.join(nginx_clients.limits(settings)),
        "client_maps": OUTER_INDENT.join([*nginx_clients.maps(settings), *nginx_listeners.maps(settings)]),
        "client_subject": nginx_listeners.client_subject(settings),
        "cors_preflights": nginx_cors.preflights(settings, headers),
        "detailed_paths": nginx_listeners.detailed_pattern(settings),
        "drain_seconds": http.drain_seconds,
        "error_locations": INDENT.join(nginx_errors.error_locations(settings, max_predictions)),
        "error_maps": OUTER_INDENT.join(nginx_errors.maps(settings)),
        "error_pages": INDENT.join(nginx_errors.error_pages(settings)),
        "flask_errors": nginx_errors.FLASK_ERRORS if settings.http.compatibility == "flask" else "",
        # Nginx has stopped waiting; without any token /v1/config is closed
        "harakiri_seconds": max(read_timeout, management_timeout if manages else 0) + 10,
        "home": settings.home,
        "http_host": http.host,
        "http_port": http.port,
        "listeners": INDENT.join(nginx_listeners.listeners(settings, nginx)) if nginx else "",
        "listeners_locations": INDENT.join(nginx_listeners.locations(settings)),
        "keeps_open": "keepalive_min_timeout 1s;" if nginx and version(nginx) >= KEEPS_OPEN_SINCE else "",
        "log_backups": settings.log.backups,
        "log_max_bytes": settings.log.max_bytes,
        "logs": settings.logs,
        "management_timeout": management_timeout,
        "metrics": settings.metrics,
        "model_upstreams": _model_upstreams(settings),
        "models": settings.home / "models",
        # At least as large as one of Nginx's buffers.
        "answer_bytes": max(limits.answer_bytes, 2**20),
        "nginx_connections": min(8192, open_files // 2),
        "nginx_workers": settings.nginx.workers,
        "open_files": open_files,
        "prediction_upstreams": _prediction_upstreams(settings, predictions, backup_predictions),
        "python": sys.executable,
        "read_timeout": read_timeout,
        "request_line_bytes": limits.request_line_bytes,
        "run": settings.run,
        "send_seconds": settings.nginx.send_seconds,
        "server_headers": INDENT.join(headers),
        "stop_seconds": int(http.drain_seconds) + 5,
        "tmp": settings.home / "tmp",
        "serving_flags": " ".join([*serving_flags(settings.backend), *_own_flags(settings)]),
        # supervisord rejects a mode for a TCP socket
        "socket_mode": "socket_mode=0660" if nginx else "",
        "supervisor_user": "user=root" if os.geteuid() == 0 else "",
        "user": f"user {user};" if user else "",
        "uwsgi_socket_owner": f"chown-socket = {user}" if user and nginx else "",
        "workers": settings.workers,
        **app_server.template_values(settings, nginx),
    }
    return {name: str(value) for name, value in values.items()}


def _predictions(settings: Settings) -> tuple[int, int]:
    """How many predictions of a model each Nginx worker sends to a worker's own socket at a time, and to an entry of
    the common one; 0 would mean any number.

    Half of a worker's limit, and three quarters of it by the common socket: a worker accepts about its part of these,
    and should not reject them, at three times the cost. When all workers have died at once, requests wait there until
    one is back (measured: 0.45 s, 180 requests of 400 a second).
    """
    connections = int(settings.http.connections * PREDICTIONS_SHARE) // (len(settings.models) + 2)
    share = min(settings.limits.inflight // 2, connections) // settings.nginx.workers
    return max(1, share), max(1, share * 3 // 2 // BACKUP_ENTRIES)


def _model_upstreams(settings: Settings) -> str:
    """Nginx's lines from a model's name to its upstream."""
    lines = []
    for number, name in enumerate(settings.models):
        key = f"\\{name}" if name in MAP_PARAMETERS else name
        lines.append(f"{key} predictions_{number};")
    return INDENT.join(lines)


def _prediction_upstreams(settings: Settings, predictions: int, backup: int) -> str:
    """Nginx's upstreams of predictions: of each model, of those that may wait, and of models without a table."""
    names = [f"predictions_{number}" for number in range(len(settings.models))]
    kept = max(16, KEPT_CONNECTIONS // (len(names) + 2))
    texts = []
    for name in [*names, "predictions", "predictions_batch"]:
        part = 2 if name == "predictions_batch" else 1
        entries = [
            *_worker_entries(settings, max(1, predictions // part)),
            *_backup_entries(settings, max(1, backup // part)),
            *_waiting_room(settings, part),
        ]
        lines = [f"upstream {name} {{", "    least_conn;", *(f"    {entry}" for entry in entries)]
        texts.append("\n    ".join([*lines, f"    keepalive {kept};", "}"]))
    return "\n    ".join(texts)


def _worker_entries(settings: Settings, predictions: int) -> list[str]:
    """Nginx's lines for the workers' own sockets; gunicorn and uWSGI have none, and the common one takes all."""
    if settings.app.server != "builtin":
        share = max(1, predictions * settings.workers // BACKUP_ENTRIES)
        return [f'server "unix:{settings.run}/app.sock" max_fails=0 max_conns={share};'] * BACKUP_ENTRIES
    return [
        f'server "unix:{settings.run}/app_{number:02d}.sock" max_fails=1 fail_timeout=1s max_conns={predictions};'
        for number in range(settings.workers)
    ]


def _backup_entries(settings: Settings, predictions: int) -> list[str]:
    """Nginx's lines for the socket of all workers, as the last resort."""
    return [f'server "unix:{settings.run}/app.sock" backup max_fails=0 max_conns={predictions};'] * BACKUP_ENTRIES


def _waiting_room(settings: Settings, part: int) -> list[str]:
    """Nginx's line for where predictions wait while there is no worker; the watchdog opens it again after an overload.

    Under overload it is asked once a second: asked each time, it made a rejection cost 20 us instead of 10 (measured).
    """
    if settings.app.server != "builtin" or not settings.app.watchdog_seconds:
        return []
    most = WAITING_PREDICTIONS // settings.nginx.workers // part
    return [f'server "unix:{settings.run}/{DOOR}" backup max_fails=1 fail_timeout=1s max_conns={most};']


def _listen_flags(backend: Backend) -> str:
    """TF Serving's flags for the address; supervisord reads them as a shell would."""
    if backend.socket_path:
        return f'--host={backend.rest_host} --port=0 --grpc_socket_path="{backend.socket_path}"'
    # `make up` after a kill -9 of supervisord starts another one beside it. Two stacks never share it: see addresses.
    port = f"--host={backend.host} --port={backend.port} --grpc_channel_arguments=grpc.so_reuseport=1"
    if not backend.socket:
        return port
    return f'{port} --grpc_socket_path="{backend.socket}" --management={backend.management}'


def _own_flags(settings: Settings) -> list[str]:
    """Only the built-in server has them."""
    roots = ",".join(filter(None, [str(settings.home / "models"), settings.backend.model_roots]))
    flags = [f'--model_roots="{roots}"']
    if settings.backend.operation_libraries:
        flags.append(f'--operation_libraries="{settings.backend.operation_libraries}"')
    return flags


def nginx_user(home: Path) -> str:
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
