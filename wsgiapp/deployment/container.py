"""TensorFlow Serving in a container: made anew for each run, ended with its launcher, found again by its label.

The launcher (`run`) is what supervisord starts and stops. It outlives the engine's client and may itself be killed;
so a container belongs to a stack by the label that names the stack's home folder, and whoever comes next (the next
launcher, `up`, `down`) removes what carries it.
"""

import csv
import hashlib
import io
import logging
import os
import shlex
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiapp.deployment.engine import CALL_SECONDS, Engine
from wsgiapp.errors import EngineMissing, StackError
from wsgiapp.settings.schema import Settings
from wsgiapp.tfserving import model_config

log = logging.getLogger(__name__)

LABEL = "wsgiapp.home"
IMAGE = "tensorflow/serving:2.19.1"
NOBODY = 65534
LAST_WORDS_SECONDS = 5.0
ENGINE_POLL_SECONDS = 1.0
# The server's socket lies alone in its folder: the run folder has supervisord's, which must not reach the container.
SOCKET_FOLDER = Path("/run/wsgiapp")
SOCKET_NAME = "grpc.sock"

Report = Callable[[str], None]


class Container:
    """The model server's container of one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = Engine(settings.container.engine)

    @property
    def name(self) -> str:
        """The configured name, or one that no other home folder has."""
        digest = hashlib.sha256(os.fsencode(self._settings.home)).hexdigest()
        return self._settings.container.name or f"wsgiapp-{digest[:12]}"

    @property
    def image(self) -> str:
        """The configured image, or TensorFlow Serving's for the CPU or the GPU."""
        configured = self._settings.container
        return configured.image or (f"{IMAGE}-gpu" if configured.gpu else IMAGE)

    @property
    def user(self) -> tuple[int, int]:
        """The user's and the group's id that the server has: never root's, unless the settings say so."""
        if self._settings.container.user:
            uid, _, gid = self._settings.container.user.partition(":")
            return int(uid), int(gid)
        return (os.getuid(), os.getgid()) if os.getuid() else (NOBODY, NOBODY)

    @property
    def may_exist(self) -> bool:
        """Whether one was made and, so far as is known, not removed. Asks no engine."""
        return self._mark.exists()

    def prepare(self, report: Report) -> None:
        """Find out, before anything starts, what would keep the container from starting; pull the image.

        Raises `StackError` with what to do: for an engine that is not there, a name that is taken, an image that
        cannot be had, a model that the container's user cannot read.
        """
        self._engine.require()
        self._require_name()
        self._require_image(report)
        unreadable = next(self._unreadable(), None)
        if unreadable:
            uid, gid = self.user
            raise StackError(
                f"{unreadable}: the container's user {uid}:{gid} cannot read it; "
                f"`chmod -R o+rX {unreadable}` lets it, or container.user names another one"
            )

    def run(self) -> int:
        """Run the container in the foreground until it ends or SIGTERM or SIGINT comes; the exit status.

        Raises `StackError` where it cannot be started. In any case nothing of it is left.
        """
        stop, wake = threading.Event(), threading.Event()

        def request_stop(*_: object) -> None:
            stop.set()
            wake.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, request_stop)
        if not self._find_engine(stop):
            return 0
        self._require_name()
        self.remove()
        try:
            container = self._create()
            if stop.is_set():
                return 0
            log.info("running %s as container %s, user %d:%d", self.image, self.name, *self.user)
            with self._attached(container, wake):
                wake.wait()
                if stop.is_set():
                    log.info("stopping the container, within %d s", self._stop_seconds)
                    self._engine.call("stop", container, seconds=self._stop_seconds + CALL_SECONDS)
                    return 0
            log.error("the container ended: %s", self._end_of(container))
            return 1
        finally:
            self.remove()

    def remove(self) -> None:
        """Stop and remove every container of this home folder.

        Raises `EngineMissing` where the engine does not answer, and `StackError` where it refuses.
        """
        self._engine.require()
        containers = self._engine.containers(self._own)
        if containers:
            try:
                self._engine.call("stop", *containers, seconds=self._stop_seconds + CALL_SECONDS)
                self._engine.call("rm", "--force", "--volumes", *containers)
            except StackError:
                if self._engine.containers(self._own):  # otherwise somebody else was quicker
                    raise
        self._remove_socket()
        self._mark.unlink(missing_ok=True)

    def _find_engine(self, stop: threading.Event) -> bool:
        """Wait for an engine that is being restarted, which supervisord would do with ever longer pauses.

        False where `stop` came first.
        """
        said = ""
        while not stop.wait(ENGINE_POLL_SECONDS if said else 0):
            try:
                self._engine.require()
            except EngineMissing as exc:
                if str(exc) != said:
                    said = str(exc)
                    log.error("waiting: %s", said)
            else:
                return True
        return False

    @contextmanager
    def _attached(self, container: str, ended: threading.Event) -> Iterator[None]:
        """The container runs, with its output on this process's own; `ended` is set when it does not any more."""
        client = self._engine.started("start", "--attach", container, piped=False)

        def wait() -> None:
            client.wait()
            ended.set()

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        try:
            yield
        finally:
            waiter.join(LAST_WORDS_SECONDS)
            client.kill()

    @property
    def _own(self) -> str:
        """The engine's filter for this home's containers."""
        return f"label={LABEL}={self._settings.home}"

    @property
    def _mark(self) -> Path:
        """Exists for as long as a container may."""
        return self._settings.run / "container.name"

    @property
    def _stop_seconds(self) -> int:
        return int(self._settings.http.drain_seconds)

    def _require_name(self) -> None:
        pattern = self.name.replace(".", r"\.")
        if self._engine.containers(f"name=^{pattern}$") - self._engine.containers(
            f"label={LABEL}={self._settings.home}"
        ):
            raise StackError(
                f"container.name: another container has the name {self.name}; remove that one "
                f"(`{self._engine.name} rm --force {self.name}`), or choose another name"
            )

    def _require_image(self, report: Report) -> None:
        policy = self._settings.container.pull
        if policy != "always" and self._engine.has_image(self.image):
            return
        if policy == "never":
            raise StackError(f'container.image: the engine has no image {self.image}, and container.pull is "never"')
        try:
            for line in self._engine.lines("pull", self.image):
                report(f"pulling {self.image}: {line}")
        except StackError as exc:
            raise StackError(f"container.image: cannot pull {self.image}: {exc}") from exc

    def _unreadable(self) -> Iterator[Path]:
        """The configuration, and the models' folders, with something in it that the container's user cannot read."""
        uid, gid = self.user
        if uid == 0:
            return
        for root in [self._config_file, *self._base_paths()]:
            if not all(_is_readable(path, uid, gid) for path in [root, *root.rglob("*")] if path.exists()):
                yield root

    def _create(self) -> str:
        """Make the container, not yet running; its id."""
        for path in self._base_paths():
            if not path.is_dir():
                log.warning("%s: not a folder; the container sees it only after a restart", path)
        if self._settings.backend.socket_path:
            self._make_socket_folder(self._settings.backend.socket_path)
        self._mark.write_text(self.name)
        return self._engine.call("create", *self._options(), self.image, *self._flags()).split()[-1]

    def _options(self) -> list[str]:
        """What the engine is told: as few rights as the server can do with."""
        configured = self._settings.container
        options = [
            f"--name={self.name}",
            f"--label={LABEL}={self._settings.home}",
            "--pull=never",
            # TF Serving does not handle SIGTERM, which the kernel then ignores for a container's first process.
            "--init",
            f"--stop-timeout={self._stop_seconds}",
            "--user={}:{}".format(*self.user),
            "--read-only",
            "--tmpfs=/tmp",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--log-driver=none",  # supervisord keeps and rotates the log
        ]
        podman = self._engine.name == "podman"
        if podman and os.getuid() != 0:
            options.append("--userns=keep-id")  # otherwise the user's id means another one inside
        if configured.memory_bytes:
            options += [f"--memory={configured.memory_bytes}", f"--memory-swap={configured.memory_bytes}"]
        if configured.cpus:
            options.append(f"--cpus={configured.cpus:g}")
        if configured.gpu:
            options += [
                "--device=nvidia.com/gpu=all" if podman else "--gpus=all",
                "--env=CUDA_DEVICE_ORDER=PCI_BUS_ID",  # nvidia-smi's order, not the fastest first
                f"--env=CUDA_VISIBLE_DEVICES={configured.gpu}",
            ]
        return [*options, *self._network_options(), *self._mounts(), *shlex.split(configured.arguments)]

    def _network_options(self) -> list[str]:
        backend, network = self._settings.backend, self._settings.container.network
        if backend.socket_path:
            return ["--network=none"]
        if network == "host":
            return ["--network=host"]
        host = socket.gethostbyname(backend.host)
        return [f"--network={network}", f"--publish={host}:{backend.port}:{backend.port}"]

    def _mounts(self) -> Iterator[str]:
        """The configuration and the models, at the paths they have outside, so that one models.config fits both."""
        yield _mount(self._config_file, self._config_file, read_only=True)
        shared: list[Path] = []
        # The home's models as a whole, so that one that comes later is seen, too.
        for path in [self._settings.home / "models", *sorted(self._base_paths())]:
            if path.is_dir() and not any(path.is_relative_to(other) for other in shared):
                shared.append(path)
                yield _mount(path, path, read_only=True)
        if self._settings.backend.socket_path:
            yield _mount(self._socket.parent, SOCKET_FOLDER, read_only=False)

    def _flags(self) -> list[str]:
        """What the server is told, after the flags of the image's own entry point: the later one wins."""
        backend = self._settings.backend
        return [
            # The entry point's gRPC port stays beside a socket: older releases refuse to do without.
            f"--grpc_socket_path={SOCKET_FOLDER / SOCKET_NAME}" if backend.socket_path else f"--port={backend.port}",
            "--rest_api_port=0",
            f"--model_config_file={self._config_file}",
            "--enable_serialization_as_tensor_content=true",
            *shlex.split(self._settings.container.flags),
        ]

    @property
    def _config_file(self) -> Path:
        return self._settings.run / "models.config"

    @property
    def _socket(self) -> Path:
        """The server's socket as it is seen outside the container."""
        return self._settings.run / "modelserver" / SOCKET_NAME

    def _base_paths(self) -> list[Path]:
        config = model_config.read(self._config_file)
        return [model.base_path for model in model_config.models_of(config, where=str(self._config_file)).values()]

    def _make_socket_folder(self, address: Path) -> None:
        """A folder that only the container's user (and root) can enter; `address` points to the socket in it."""
        try:
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
            os.chown(self._socket.parent, *self.user)
            if address.is_socket():  # left behind by another kind of model server: `up` found nobody there
                address.unlink()
            address.symlink_to(self._socket)
        except OSError as exc:
            raise StackError(
                f"backend.address: no socket {address} for the user {self.user[0]}: {exc.strerror}"
            ) from exc

    def _remove_socket(self) -> None:
        """Nobody listens any more."""
        address = self._settings.backend.socket_path
        self._socket.unlink(missing_ok=True)
        if address and address.is_symlink() and address.readlink() == self._socket:
            address.unlink()

    def _end_of(self, container: str) -> str:
        format_ = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"
        state, code, out_of_memory = self._engine.call("container", "inspect", "--format", format_, container).split()
        if state == "running":
            return f"{self._engine.name}'s client left it"
        if state == "created":
            return f"{self._engine.name} could not start it"
        if out_of_memory == "true":
            return f"exit status {code}, it needed more than container.memory_bytes"
        return f"exit status {code}"


def _mount(source: Path, target: Path, *, read_only: bool) -> str:
    """A bind mount; the engine reads it as a line of CSV."""
    line = io.StringIO()
    fields = ["type=bind", f"src={source}", f"dst={target}", *(["readonly"] if read_only else [])]
    csv.writer(line, lineterminator="").writerow(fields)
    return f"--mount={line.getvalue()}"


def _is_readable(path: Path, uid: int, gid: int) -> bool:
    """Whether the mode of a file or folder lets a user in whose only group is `gid`."""
    status = path.stat()
    needed = 0o5 if path.is_dir() else 0o4
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return (status.st_mode >> shift) & needed == needed
