"""TensorFlow Serving in a container: made anew for each run, ended with its launcher, found again by its label.

The launcher (`run`) is what supervisord starts and stops. It outlives the engine's client and may itself be killed;
so a container belongs to a stack by the label that names the stack's home folder, and whoever comes next (the next
launcher, `up`, `down`) removes what carries it.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiapp.deployment.container_spec import LABEL, ContainerSpec
from wsgiapp.deployment.engine import CALL_SECONDS, Engine
from wsgiapp.errors import EngineMissing, StackError
from wsgiapp.settings.schema import Settings

log = logging.getLogger(__name__)

LAST_OUTPUT_SECONDS = 5.0
ENGINE_POLL_SECONDS = 1.0

Report = Callable[[str], None]


class Container:
    """The model server's container of one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine = Engine(settings.container.engine)
        self._spec = ContainerSpec(settings, self._engine.name)

    @property
    def may_exist(self) -> bool:
        """Whether one was made and, so far as is known, not removed. Asks no engine."""
        return self._marker.exists()

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
            uid, gid = self._spec.user
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
            log.info("running %s as container %s, user %d:%d", self._spec.image, self._spec.name, *self._spec.user)
            with self._attached(container, wake):
                wake.wait()
                if stop.is_set():
                    log.info("stopping the container, within %d s", self._spec.stop_seconds)
                    self._engine.call("stop", container, seconds=self._spec.stop_seconds + CALL_SECONDS)
                    return 0
            log.error("the container ended: %s", self._end_of(container))
            return 1
        finally:
            self.remove()

    def remove(self) -> None:
        """Stop and remove every container of this home folder.

        Raises `EngineMissing` where the engine does not answer, and `StackError` where it fails.
        """
        self._engine.require()
        containers = self._engine.containers(self._spec.filter)
        if containers:
            try:
                self._engine.call("stop", *containers, seconds=self._spec.stop_seconds + CALL_SECONDS)
                self._engine.call("rm", "--force", "--volumes", *containers)
            except StackError:
                if self._engine.containers(self._spec.filter):  # otherwise somebody else was quicker
                    raise
        self._remove_socket()
        self._marker.unlink(missing_ok=True)

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
            waiter.join(LAST_OUTPUT_SECONDS)
            client.kill()

    @property
    def _marker(self) -> Path:
        """Exists for as long as a container may."""
        return self._settings.run / "container.name"

    def _require_name(self) -> None:
        pattern = self._spec.name.replace(".", r"\.")
        if self._engine.containers(f"name=^{pattern}$") - self._engine.containers(
            f"label={LABEL}={self._settings.home}"
        ):
            raise StackError(
                f"container.name: another container has the name {self._spec.name}; remove that one "
                f"(`{self._engine.name} rm --force {self._spec.name}`), or choose another name"
            )

    def _require_image(self, report: Report) -> None:
        policy = self._settings.container.pull
        if policy != "always" and self._engine.has_image(self._spec.image):
            return
        if policy == "never":
            raise StackError(
                f'container.image: the engine has no image {self._spec.image}, and container.pull is "never"'
            )
        try:
            for line in self._engine.lines("pull", self._spec.image):
                report(f"pulling {self._spec.image}: {line}")
        except StackError as exc:
            raise StackError(f"container.image: cannot pull {self._spec.image}: {exc}") from exc

    def _unreadable(self) -> Iterator[Path]:
        """The configuration, and the models' folders, with something in it that the container's user cannot read."""
        uid, gid = self._spec.user
        if uid == 0:
            return
        for root in [self._spec.config_file, *self._spec.base_paths()]:
            if not all(_is_readable(path, uid, gid) for path in [root, *root.rglob("*")] if path.exists()):
                yield root

    def _create(self) -> str:
        """Make the container, not yet running; its id."""
        for path in self._spec.base_paths():
            if not path.is_dir():
                log.warning("%s: not a folder; the container sees it only after a restart", path)
        if self._settings.backend.socket_path:
            self._make_socket_folder(self._settings.backend.socket_path)
        self._marker.write_text(self._spec.name)
        return self._engine.call("create", *self._spec.options(), self._spec.image, *self._spec.flags()).split()[-1]

    def _make_socket_folder(self, address: Path) -> None:
        """A folder that only the container's user (and root) can enter; `address` points to the socket in it."""
        try:
            self._spec.socket.parent.mkdir(mode=0o700, exist_ok=True)
            os.chown(self._spec.socket.parent, *self._spec.user)
            if address.is_socket():  # left behind by another kind of model server: `up` found nobody there
                address.unlink()
            address.symlink_to(self._spec.socket)
        except OSError as exc:
            raise StackError(
                f"backend.address: no socket {address} for the user {self._spec.user[0]}: {exc.strerror}"
            ) from exc

    def _remove_socket(self) -> None:
        """Nobody listens any more."""
        address = self._settings.backend.socket_path
        self._spec.socket.unlink(missing_ok=True)
        if address and address.is_symlink() and address.readlink() == self._spec.socket:
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


def _is_readable(path: Path, uid: int, gid: int) -> bool:
    """Whether the mode of a file or folder lets a user in whose only group is `gid`."""
    status = path.stat()
    needed = 0o5 if path.is_dir() else 0o4
    shift = 6 if status.st_uid == uid else 3 if status.st_gid == gid else 0
    return (status.st_mode >> shift) & needed == needed
