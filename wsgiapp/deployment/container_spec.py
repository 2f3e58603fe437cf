"""`ContainerSpec`: what TensorFlow Serving's container is made of: its name, image, user, mounts, and flags."""

import csv
import hashlib
import io
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

from wsgiapp.deployment.serving_flags import serving_flags
from wsgiapp.settings.schema import Settings
from wsgiapp.tfserving import model_config

LABEL = "wsgiapp.home"
IMAGE = "tensorflow/serving:2.19.1"
NOBODY = 65534
# The server's socket lies alone in its folder: the run folder has supervisord's, which must not reach the container.
SOCKET_FOLDER = Path("/run/wsgiapp")
SOCKET_NAME = "grpc.sock"


class ContainerSpec:
    """The model server's container of one home folder, as the engine called `engine_name` is to make it."""

    def __init__(self, settings: Settings, engine_name: str) -> None:
        self._settings = settings
        self._engine_name = engine_name

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
    def filter(self) -> str:
        """The engine's filter for this home's containers."""
        return f"label={LABEL}={self._settings.home}"

    @property
    def stop_seconds(self) -> int:
        """Seconds that the server gets to end."""
        return int(self._settings.http.drain_seconds)

    @property
    def config_file(self) -> Path:
        """What the server starts with."""
        return self._settings.run / "models.config"

    @property
    def socket(self) -> Path:
        """The server's socket as it is seen outside the container."""
        return self._settings.run / "modelserver" / SOCKET_NAME

    def base_paths(self) -> list[Path]:
        """The folders of the configured models."""
        config = model_config.read(self.config_file)
        return [model.base_path for model in model_config.models_of(config, where=str(self.config_file)).values()]

    def options(self) -> list[str]:
        """Options of the engine's `create`: as few rights as the server can do with."""
        configured = self._settings.container
        options = [
            f"--name={self.name}",
            f"--label={LABEL}={self._settings.home}",
            "--pull=never",
            # TF Serving does not handle SIGTERM, which the kernel then ignores for a container's first process.
            "--init",
            f"--stop-timeout={self.stop_seconds}",
            "--user={}:{}".format(*self.user),
            "--read-only",
            "--tmpfs=/tmp",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--log-driver=none",  # supervisord keeps and rotates the log
        ]
        podman = self._engine_name == "podman"
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

    def flags(self) -> list[str]:
        """What the server is told, after the flags of the image's own entry point: the later one wins."""
        backend = self._settings.backend
        return [
            # The entry point's gRPC port stays beside a socket: older releases reject to do without.
            f"--grpc_socket_path={SOCKET_FOLDER / SOCKET_NAME}" if backend.socket_path else f"--port={backend.port}",
            f"--model_config_file={self.config_file}",
            *serving_flags(backend),
            *shlex.split(self._settings.container.flags),
        ]

    def _network_options(self) -> list[str]:
        backend, network = self._settings.backend, self._settings.container.network
        ports = {backend.rest_port: backend.rest_host} if backend.rest_port else {}
        if not backend.socket_path:
            ports[backend.port] = backend.host
        elif not ports:
            return ["--network=none"]
        if network == "host":
            return ["--network=host"]
        published = [f"--publish={socket.gethostbyname(host)}:{port}:{port}" for port, host in ports.items()]
        return [f"--network={network}", *published]

    def _mounts(self) -> Iterator[str]:
        """The configuration and the models, at the paths they have outside, so that one models.config fits both."""
        yield _mount(self.config_file, self.config_file, read_only=True)
        shared: list[Path] = []
        # The home's models as a whole, so that one that comes later is seen, too.
        for path in [self._settings.home / "models", *sorted(self.base_paths())]:
            if path.is_dir() and not any(path.is_relative_to(other) for other in shared):
                shared.append(path)
                yield _mount(path, path, read_only=True)
        if self._settings.backend.socket_path:
            yield _mount(self.socket.parent, SOCKET_FOLDER, read_only=False)


def _mount(source: Path, target: Path, *, read_only: bool) -> str:
    """A bind mount; the engine reads it as a line of CSV."""
    line = io.StringIO()
    fields = ["type=bind", f"src={source}", f"dst={target}", *(["readonly"] if read_only else [])]
    csv.writer(line, lineterminator="").writerow(fields)
    return f"--mount={line.getvalue()}"
