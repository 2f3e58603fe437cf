"""`Settings`: the values of all tables, and the places that follow from them."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wsgiapp.settings.tables.access import Access
from wsgiapp.settings.tables.backend import Backend, Container, Management
from wsgiapp.settings.tables.gateway import App, Http, Limits, Log, Nginx
from wsgiapp.settings.tables.models import Model
from wsgiapp.settings.tables.tls import Tls

MODEL_SERVER_SOCKET = "modelserver.sock"
REPOSITORY = Path(__file__).resolve().parent.parent.parent
TABLES: Mapping[str, type] = {
    "app": App,
    "http": Http,
    "tls": Tls,
    "nginx": Nginx,
    "limits": Limits,
    "backend": Backend,
    "container": Container,
    "management": Management,
    "access": Access,
    "log": Log,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, read once, never changed."""

    home: Path
    conf: Path
    app: App = field(default_factory=App)
    http: Http = field(default_factory=Http)
    tls: Tls = field(default_factory=Tls)
    nginx: Nginx = field(default_factory=Nginx)
    limits: Limits = field(default_factory=Limits)
    backend: Backend = field(default_factory=Backend)
    container: Container = field(default_factory=Container)
    management: Management = field(default_factory=Management)
    access: Access = field(default_factory=Access)
    log: Log = field(default_factory=Log)
    models: Mapping[str, Model] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """Sockets, process ids and rendered configuration."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "log"

    @property
    def cache(self) -> Path:
        """Files that can be made again: parsed dictionaries."""
        return self.home / "cache"

    @property
    def metrics(self) -> Path:
        """Each worker's metrics."""
        return self.run / "metrics"

    @property
    def access_folder(self) -> Path:
        """What is known of keys and tokens, and outlives a stop: for who runs the workers alone."""
        return self.home / "access"

    @property
    def credentials_file(self) -> Path:
        """Hashes of API keys and tokens."""
        return self.home / self.access.file if self.access.file else self.access_folder / "keys.json"

    @property
    def counts_file(self) -> Path:
        """What API keys have used; it outlives a stop."""
        return self.access_folder / "keys.counts"

    @property
    def control_socket(self) -> Path:
        """Where supervisord listens for supervisorctl."""
        return control_socket(self.run)

    def in_stack(self) -> "Settings":
        """With the Unix socket of the stack's own model server, or without one where it has none of its own.

        A worker that was started without a stack knows nothing of such a socket, and calls `backend.address`.
        """
        has_one = self.app.backend == "embedded" and not self.backend.socket_path
        socket = self.backend.socket or str(self.run / MODEL_SERVER_SOCKET) if has_one else ""
        return replace(self, backend=replace(self.backend, socket=socket))

    @property
    def beats_socket(self) -> Path:
        """Where workers send their signs of life."""
        return self.run / "watchdog.sock"

    @property
    def instance(self) -> str:
        """What tells the processes of this home folder from those of any other one on the machine."""
        return hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:16]

    def ready_file(self, process: str) -> Path:
        """Where the worker that supervisord calls `process` keeps its pid while it serves."""
        return self.run / f"{process}.ready"

    @property
    def default_model(self) -> str:
        """The model of `/predict`; empty where no model is configured, and only TF Serving's routes answer."""
        return self.app.default_model or next(iter(self.models), "")

    @property
    def workers(self) -> int:
        return self.app.workers or max(2, os.cpu_count() or 1)


def control_socket(run: Path) -> Path:
    """Where the supervisord of a run folder listens."""
    return run / "supervisor.sock"
