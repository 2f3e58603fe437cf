"""gunicorn in the place of the workers' own program (app.server = "gunicorn"): `gunicorn -c conf/gunicorn.py`.

The values are those of conf/wsgiapp.toml, read at the start and again at SIGHUP. Neither is the application loaded here
nor gevent imported: each worker does both after its fork.
"""

import itertools
import os
import sys
from typing import Any

from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.errors import SettingsError
from wsgiapp.settings.started import process_settings

try:
    settings = process_settings()
except SettingsError as exc:
    sys.exit(f"wsgiapp: {exc}")
behind_nginx = find_nginx(settings) is not None
supervised = os.environ.get("SUPERVISOR_PROCESS_NAME")  # the master's name, which workers inherit

wsgi_app = "wsgiapp.app:application"
bind = f"unix:{settings.run}/app.sock" if behind_nginx else f"{settings.http.host}:{settings.http.port}"
umask = 0o007 if behind_nginx else 0o027  # of the socket: Nginx's workers may be in the run folder's group
workers = settings.workers
worker_class = "gevent"
worker_connections = settings.http.connections
# Behind Nginx no connection is kept: a drain would wait for those that Nginx keeps.
keepalive = 0 if behind_nginx else int(settings.http.idle_seconds)
graceful_timeout = int(settings.http.drain_seconds)
# gunicorn has no limit between 8,190 bytes and none; Nginx knows limits.request_line_bytes.
limit_request_line = 0 if behind_nginx else 8190
limit_request_field_size = 65536  # as the workers' own program has it
loglevel = settings.log.level
accesslog = None  # the application writes its own, one JSON line a request
control_socket_disable = True  # it would be in the user's home folder

os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.metrics))
for folder in (settings.run, settings.metrics):
    folder.mkdir(parents=True, exist_ok=True)


def on_starting(server: Any) -> None:
    """Forget the counters of an earlier run; below supervisord `wsgiapp up` does."""
    if not supervised:
        for path in settings.metrics.glob("*.db"):
            path.unlink()


def pre_fork(server: Any, worker: Any) -> None:
    """Each worker gets a place, which is free again when it has ended: its successor goes on counting there."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in itertools.count() if place not in taken)


def post_fork(server: Any, worker: Any) -> None:
    """Tell the metrics of the worker's place."""
    os.environ["SUPERVISOR_PROCESS_NAME"] = f"app_{worker.place:02d}"


def post_worker_init(worker: Any) -> None:
    """Say that a worker has loaded the application: `make restart` waits for it."""
    if supervised:
        settings.ready_file(supervised).write_text(str(worker.ppid))


def child_exit(server: Any, worker: Any) -> None:
    """Forget gauges of the worker that has ended; its counters go on."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(f"app-{worker.place:02d}")
