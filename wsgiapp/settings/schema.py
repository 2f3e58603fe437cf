"""Every setting with its default, unit and reason, in one declaration each."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT_PREFIX = "WSGIAPP_"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
RESERVED_MODEL_NAMES = frozenset({"v1", "V1"})
BACKENDS = ("embedded", "container", "external")
PULL_POLICIES = ("missing", "always", "never")
# A Unix socket's path has 108 bytes at most, the last of them a null.
MAX_SOCKET_PATH_BYTES = 107
# An engine refuses less than 6 MB; what is smaller than this is a slip in the unit, and could load no TensorFlow.
LEAST_CONTAINER_MEMORY = 64 * 2**20
CONTAINER_PATTERNS = (
    ("engine", r"\S.*", "a program"),
    ("image", r"([^\s-]\S*)?", "an image"),
    ("name", r"([A-Za-z0-9][A-Za-z0-9_.-]{0,127})?", "a name for a container (letters, digits, `_`, `-`, `.`)"),
    ("gpu", r"([A-Za-z0-9/-]+)?", "one GPU's index or UUID"),
    ("user", r"(\d+:\d+)?", "uid:gid in numbers"),
    ("network", r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a network"),
)


def setting(default: Any, about: str, *, least: float | None = None, most: float | None = None) -> Any:
    """A field with its meaning, unit and reason, and the range that makes sense."""
    metadata = {"about": about, "least": least, "most": most}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What the service is."""

    backend: str = setting(
        "embedded",
        "the model server: `embedded` runs the built-in one, `container` runs TensorFlow Serving in a container, "
        "`external` uses a TensorFlow Serving of yours",
    )
    default_model: str = setting("", "the model that answers `/predict`; empty: the first one configured")
    workers: int = setting(
        0,
        "worker processes; 0: one a core, but at least 2, so that a rolling restart always leaves one",
        least=0,
        most=1024,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Where and how clients are served."""

    host: str = setting("127.0.0.1", "address to listen on; `0.0.0.0` opens the service to other machines")
    port: int = setting(8080, "TCP port to listen on", least=1, most=65535)
    connections: int = setting(1000, "open connections a worker; each is a greenlet, also while it is idle", least=1)
    idle_seconds: float = setting(
        75.0, "seconds a connection may stay silent; longer than Nginx's 60, so that Nginx closes first", least=1
    )
    metrics_path: str = setting(
        "/metrics", "path at which all workers' counters are served, in Prometheus's format; empty: nowhere"
    )
    drain_seconds: float = setting(
        20.0, "seconds that answers in flight get at a stop; more than the longest deadline", least=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """The reverse proxy in front of the workers."""

    binary: str = setting(
        "nginx", "program to run; also looked for in /usr/sbin; empty: the workers serve clients themselves"
    )
    workers: int = setting(1, "Nginx worker processes; one is plenty below 20,000 requests a second", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for. Nginx is given the same figures."""

    body_bytes: int = setting(16 * 2**20, "bytes of a request body: a large photograph in base64", least=1024)
    request_line_bytes: int = setting(
        2**20, "bytes of method, URL and query: a 700 KB picture in base64 (pywsgi and Nginx stop at 8 KB)", least=1024
    )
    text_chars: int = setting(
        10_000, "characters of all texts in one request; the cost of a recurrent model grows with it", least=1
    )
    text_rows: int = setting(256, "texts in one request", least=1)
    image_pixels: int = setting(
        50_000_000, "width x height of an image, read from its header: 150 MB once decoded", least=1
    )
    inflight: int = setting(
        256,
        "predictions in flight a worker; one more is answered 503 at once instead of queueing; Nginx refuses earlier, "
        "with half of it in flight for each worker and half of it besides",
        least=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The model server."""

    address: str = setting(
        "127.0.0.1:8500", "where the model server's gRPC is: host:port, or `unix:/absolute/path` of a Unix socket"
    )
    message_bytes: int = setting(
        64 * 2**20, "bytes of one gRPC message; gRPC's own 4 MB are less than one 1024x1024 picture", least=2**20
    )
    deadline_seconds: float = setting(
        10.0,
        "seconds for a call below `/v1/` to a model without a table of its own, retries included; then the client "
        "gets 504",
        least=0.001,
    )
    metrics_path: str = setting(
        "", "path at which the built-in model server's own counters are served, in Prometheus's format; empty: nowhere"
    )

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket, or `None` where the address is host:port."""
        kind, _, path = self.address.partition(":")
        return Path(path) if kind == "unix" else None

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """TensorFlow Serving's container, where `app.backend` is `container`."""

    engine: str = setting(
        "docker", "program that runs containers: `docker` or `podman`, with global options if need be"
    )
    image: str = setting(
        "", "image to run; empty: `tensorflow/serving:2.19.1`, and `tensorflow/serving:2.19.1-gpu` for a GPU"
    )
    pull: str = setting(
        "missing", "when `up` pulls the image: `missing`, `always`, or `never`; a restart of the container never does"
    )
    name: str = setting("", "the container's name; empty: made from the home folder, so that two stacks do not collide")
    gpu: str = setting("", "the one GPU to use, by index or UUID, as CUDA_VISIBLE_DEVICES takes it; empty: CPU only")
    memory_bytes: int = setting(
        0, "bytes of memory, without swap, which is slower than any deadline; one more and it is killed; 0: no limit"
    )
    cpus: float = setting(0.0, "processors' worth of time, fractions allowed; 0: no limit", least=0)
    user: str = setting(
        "", "uid:gid of the server; empty: who runs the stack, or 65534:65534 (nobody) where that is root"
    )
    network: str = setting(
        "bridge",
        "the engine's network to join; `host` spares a copy of each message, but opens the port to other machines",
    )
    arguments: str = setting("", "further options for the engine's `create`, quoted as in a shell")
    flags: str = setting("", "further flags for `tensorflow_model_server`, quoted as in a shell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """Changes of what the model server loads."""

    token: str = setting("", "who sends it (`Authorization: Bearer ...`) may use `/v1/config`; empty: nobody may")
    seconds: float = setting(
        120.0, "seconds for a reload or a promotion, until the versions that it brings are AVAILABLE", least=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log files under `WSGIAPP_HOME/log`."""

    level: str = setting("info", "debug, info, warning or error")
    access: bool = setting(True, "one JSON line a request")
    max_bytes: int = setting(20 * 2**20, "bytes of a log file before it is rotated", least=1024)
    backups: int = setting(5, "rotated files kept of each log", least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One `[models.NAME]` table: a model is added here and nowhere else."""

    name: str = setting("", "its name at the model server and in the URL")
    pipeline: str = setting("", "an entry point of the group `wsgiapp.pipelines`: `segmented_text`, `saliency`, yours")
    signature: str = setting("serving_default", "the signature to call")
    version: int | None = setting(None, "the version to call; not set: the newest", least=0)
    label: str = setting("", "the version label to call, instead of a version")
    split: Mapping[str, Any] = setting(
        {},
        "shares of clients by label instead of one label, as `{ stable = 95, canary = 5 }`; a client keeps its label",
    )
    split_key: str = setting("", "header that tells clients apart for the split; empty, or not sent: their address")
    deadline_seconds: float = setting(
        10.0, "seconds for a prediction, retries included; then the client gets 504", least=0.001
    )
    batching: bool = setting(
        True,
        "requests that wait at the same moment share a call, once a version's batched answers were seen to equal its "
        "single ones",
    )
    max_batch_size: int = setting(64, "rows of a shared call", least=1)
    max_inflight: int = setting(
        1, "shared calls a worker has under way at a time; the fewer, the more requests share one", least=1
    )
    options: Mapping[str, Any] = setting({}, "what the pipeline takes, see above")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, read once, never changed."""

    home: Path
    conf: Path
    app: App = field(default_factory=App)
    http: Http = field(default_factory=Http)
    nginx: Nginx = field(default_factory=Nginx)
    limits: Limits = field(default_factory=Limits)
    backend: Backend = field(default_factory=Backend)
    container: Container = field(default_factory=Container)
    management: Management = field(default_factory=Management)
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
        """What can be made again: parsed dictionaries."""
        return self.home / "cache"

    @property
    def metrics(self) -> Path:
        """Each worker's counters."""
        return self.run / "metrics"

    @property
    def control_socket(self) -> Path:
        """Where supervisord listens for supervisorctl."""
        return self.run / "supervisor.sock"

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


SECTIONS: Mapping[str, type] = {
    "app": App,
    "http": Http,
    "nginx": Nginx,
    "limits": Limits,
    "backend": Backend,
    "container": Container,
    "management": Management,
    "log": Log,
}
