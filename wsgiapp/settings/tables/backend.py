"""The tables `[backend]`, `[container]` and `[management]`: the model server, and changes of what it loads."""

from dataclasses import dataclass
from pathlib import Path

from wsgiapp.settings.constraints import (
    FILE_PATH,
    TOKEN,
    URL_PATH,
    BackendAddress,
    Choice,
    Pattern,
    Range,
    ShellWords,
    SocketPath,
)
from wsgiapp.settings.declaration import DOWN_AND_UP, MAX_SECONDS, RESTART, setting

# An engine rejects less than 6 MB; what is smaller than this is a slip in the unit, and could load no TensorFlow.
MIN_CONTAINER_MEMORY_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The model server."""

    address: str = setting(
        "127.0.0.1:8500",
        "where the model server's gRPC is: host:port, or `unix:/absolute/path` of a Unix socket",
        DOWN_AND_UP,
        BackendAddress(),
    )
    socket: str = setting(
        "",
        "Unix socket of the built-in model server, by which the workers and `wsgiapp models` call it: nobody but the "
        "stack's user and group can; `address` is then for other gRPC clients; empty: `modelserver.sock` in the run "
        "folder; not used with another model server, or where `address` is a Unix socket itself",
        DOWN_AND_UP,
        SocketPath(),
    )
    management: str = setting(
        "socket",
        "who may change or reveal what the built-in model server loads: `socket`, who can reach its Unix socket; "
        "`all`, also every gRPC client of `address`, as TensorFlow Serving has it: any user of the machine is one",
        DOWN_AND_UP,
        Choice(("socket", "all")),
    )
    model_roots: str = setting(
        "",
        "folders below which the built-in model server may load models, with commas between them, besides the models' "
        "folder and those that hold the base paths of `models.config` when it starts; `/` allows all",
        DOWN_AND_UP,
        FILE_PATH,
    )
    message_bytes: int = setting(
        64 * 2**20,
        "bytes of one gRPC message; gRPC's own 4 MB are less than one 1024x1024 picture",
        RESTART,
        Range(2**20),
    )
    deadline_seconds: float = setting(
        10.0,
        "seconds for a call below `/v1/` to a model without a table of its own, retries included; then the client "
        "gets 504",
        RESTART,
        Range(0.001, MAX_SECONDS),
    )
    reconnect_wait_seconds: float = setting(
        10.0,
        "seconds after the model server was lost for which predictions wait for it, within their deadlines, because it "
        "may be about to start again; later they are answered 503 after half a second; 0: at once",
        RESTART,
        Range(0, MAX_SECONDS),
    )
    serialize_as_tensor_content: bool = setting(
        False,
        "numbers in answers stand in `tensor_content` instead of `float_val`, `int64_val` and so on, which clients of "
        "TF Serving read; measured, model server and gateway together: 0.08 instead of 0.09 ms for a mask of 320x320 "
        "floats, no difference for 3 floats, 0.3 instead of 4 ms for 102,400 integers",
        DOWN_AND_UP,
    )
    rest_port: int = setting(
        0,
        "TCP port of the model server's own REST API, on the host of `address`, or 127.0.0.1 with a Unix socket; TF "
        "Serving's is 8501; 0: none, because the same is below `/v1/` on the service's port",
        DOWN_AND_UP,
        Range(1, 65535, zero=True),
    )
    config_poll_seconds: float = setting(
        0.0,
        "seconds between two looks at `conf/models.config`, which is applied when it has changed and passes "
        "`wsgiapp models check`; 0: only `wsgiapp models reload` and `/v1/config` apply it",
        DOWN_AND_UP,
        Range(0.1, MAX_SECONDS, zero=True),
    )
    operation_libraries: str = setting(
        "",
        "shared libraries with operations that TensorFlow lacks, for the built-in model server, as "
        "`tf.load_op_library` takes them: absolute paths with commas between them; TensorFlow Text needs none, "
        "`wsgiapp[text]` brings it",
        DOWN_AND_UP,
        FILE_PATH,
    )
    metrics_path: str = setting(
        "",
        "path of the built-in model server's own metrics, in Prometheus's format; empty: not served",
        RESTART,
        URL_PATH,
    )

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket, or `None` where the address is host:port."""
        kind, _, path = self.address.partition(":")
        return Path(path) if kind == "unix" else None

    @property
    def call_address(self) -> str:
        """Where the processes of the stack call the model server."""
        return f"unix:{self.socket}" if self.socket and not self.socket_path else self.address

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def rest_host(self) -> str:
        """Where the model server's REST API listens."""
        return "127.0.0.1" if self.socket_path else self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """TensorFlow Serving's container, where `app.backend` is `container`."""

    engine: str = setting(
        "docker",
        "program that runs containers: `docker` or `podman`, with global options if need be",
        DOWN_AND_UP,
        ShellWords(program=True),
    )
    image: str = setting(
        "",
        "image to run; empty: `tensorflow/serving:2.19.1`, and `tensorflow/serving:2.19.1-gpu` for a GPU",
        DOWN_AND_UP,
        Pattern(r"([!-,./-~][!-~]*)?", "an image's name, digest or id"),
    )
    pull: str = setting(
        "missing",
        "when `up` pulls the image: `missing`, `always`, or `never`; a restart of the container never does",
        DOWN_AND_UP,
        Choice(("missing", "always", "never")),
    )
    name: str = setting(
        "",
        "the container's name; empty: made from the home folder, so that two stacks do not collide",
        DOWN_AND_UP,
        Pattern(
            r"([A-Za-z0-9][A-Za-z0-9_.-]{0,127})?", "a container's name (at most 128 letters, digits, `_`, `-`, `.`)"
        ),
    )
    gpu: str = setting(
        "",
        "the one GPU to use, by index or UUID, as CUDA_VISIBLE_DEVICES takes it; empty: CPU only",
        DOWN_AND_UP,
        Pattern(r"[A-Za-z0-9/-]*", "one GPU's index or UUID"),
    )
    memory_bytes: int = setting(
        0,
        "bytes of memory, without swap, which is slower than any deadline; the kernel kills it above; 0: no limit",
        DOWN_AND_UP,
        Range(MIN_CONTAINER_MEMORY_BYTES, zero=True),
    )
    cpus: float = setting(0.0, "processors' worth of time, fractions allowed; 0: no limit", DOWN_AND_UP, Range(0, 1024))
    user: str = setting(
        "",
        "uid:gid of the server; empty: who runs the stack, or 65534:65534 (nobody) where that is root",
        DOWN_AND_UP,
        Pattern(r"([0-9]{1,10}:[0-9]{1,10})?", "uid:gid in numbers"),
    )
    network: str = setting(
        "bridge",
        "the engine's network to join; `host` spares a copy of each message, but opens the port to other machines",
        DOWN_AND_UP,
        Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a network's name (letters, digits, `_`, `-`, `.`)"),
    )
    arguments: str = setting(
        "", "further options for the engine's `create`, quoted as in a shell", DOWN_AND_UP, ShellWords()
    )
    flags: str = setting(
        "", "further flags for `tensorflow_model_server`, quoted as in a shell", DOWN_AND_UP, ShellWords()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """Changes of what the model server loads."""

    token: str = setting(
        "",
        "bearer token of `/v1/config` (`Authorization: Bearer ...`) for everything there; empty: only the tokens of "
        "`wsgiapp tokens add` count, and without any `/v1/config` is closed",
        RESTART,
        TOKEN,
        secret=True,
    )
    seconds: float = setting(
        120.0,
        "seconds for a reload or a promotion, until the versions that it brings are AVAILABLE",
        RESTART,
        Range(1, MAX_SECONDS),
    )
