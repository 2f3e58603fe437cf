"""The REST API of `--rest_api_port`: one gateway worker as a child process, kept alive."""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.lifecycle.threads import remaining
from wsgiapp.settings.constraints import MAX_SOCKET_PATH_BYTES
from wsgiapp.tfserving import texts

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
STEADY_SECONDS = 10.0  # a worker that lived as long did not fail at its start
POLL_SECONDS = 0.05
BACKLOG = 1024
# TF Serving has no limits; the worker needs some, and JSON is larger than what it stands for.
BODY_BYTES = 256 * 2**20
PROCESS = "rest"
KILL_SECONDS = 2.0


class RestWorker:
    """Holds the listening socket, so that clients wait while a worker that crashed is started again.

    The worker reaches the model server by a UNIX socket in a private folder, whatever ports and certificates it has
    besides; and it ends when the model server does, however that ends: it holds a pipe whose other end is closed then.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        drain_seconds: float,
        call_seconds: float = 30.0,
        metrics_path: str = "",
        cors: bool = False,
    ) -> None:
        """Bind the port; with `cors` pages of any origin may call. Raises `SettingsError` where binding fails."""
        self.address = f"{host}:{port}"
        self._listener = _bound(host, port)
        self._drain_seconds = drain_seconds
        self._call_seconds = call_seconds
        self._metrics_path = metrics_path
        self._cors_origins = "*" if cors else ""
        self._folder = _private_folder()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: tuple[int, ...] = ()
        self._keeper = threading.Thread(target=self._keep_alive, name="REST", daemon=True)

    @property
    def backend_address(self) -> str:
        """Where gRPC has to listen for the worker; only this user can connect."""
        return f"unix:{self._folder}/grpc.sock"

    def start(self) -> None:
        """Listen, and keep a worker running."""
        (self._folder / "wsgiapp.toml").write_text("# All settings come from the environment.\n", encoding="utf-8")
        self._pipe = os.pipe()
        self._listener.listen(BACKLOG)
        self._keeper.start()

    def stop(self, seconds: float) -> None:
        """Let the worker drain for at most so long; then end it. Also removes what was never started."""
        deadline = time.monotonic() + seconds
        self._stopping.set()
        with self._starting:
            child = self._child
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.terminate()
                child.wait(remaining(deadline))
            child.kill()
            self._keeper.join(KILL_SECONDS)
        self._listener.close()
        for end in self._pipe:
            os.close(end)
        self._pipe = ()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_alive(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            with self._starting:
                if self._stopping.is_set():
                    return
                self._child = self._spawn()
            started = time.monotonic()
            status = self._run(self._child)
            if self._stopping.is_set():
                return
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - started > STEADY_SECONDS else pause
            log.error("the REST worker ended with %d; it is started again in %.1f s", status, pause)
            self._stopping.wait(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _run(self, child: "subprocess.Popen[bytes]") -> int:
        """Log when the worker serves; the status it ends with."""
        ready = self._folder / "run" / f"{PROCESS}.ready"
        while child.poll() is None and not _holds(ready, child.pid):
            time.sleep(POLL_SECONDS)
        if child.poll() is None:
            log.info("%s", texts.EXPORTING_REST.format(address=self.address))
        return child.wait()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        its_end = self._pipe[0]
        command = [sys.executable, "-m", "wsgiapp.worker", f"--parent-pipe={its_end}"]
        return subprocess.Popen(command, stdin=self._listener.fileno(), pass_fds=[its_end], env=self._environment())

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        return {
            **inherited,
            "SUPERVISOR_PROCESS_NAME": PROCESS,  # names its ready file
            "WSGIAPP_CONF": str(self._folder),
            "WSGIAPP_HOME": str(self._folder),
            "WSGIAPP_BACKEND_ADDRESS": self.backend_address,
            "WSGIAPP_BACKEND_DEADLINE_SECONDS": str(self._call_seconds),
            "WSGIAPP_BACKEND_MESSAGE_BYTES": str(BODY_BYTES),
            "WSGIAPP_BACKEND_METRICS_PATH": self._metrics_path,
            "WSGIAPP_HTTP_CORS_ORIGINS": self._cors_origins,
            "WSGIAPP_HTTP_DRAIN_SECONDS": str(self._drain_seconds),
            "WSGIAPP_LIMITS_BODY_BYTES": str(BODY_BYTES),
            "WSGIAPP_LOG_ACCESS": "false",
        }


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise SettingsError(f"--rest_api_port={port}: {host}:{port} cannot be bound: {exc.strerror}") from exc
    return listener


def _private_folder() -> Path:
    """A new folder that only this user can enter, with a path short enough for a UNIX socket."""
    folder = Path(tempfile.mkdtemp(prefix="wsgiapp-rest-"))
    if len(os.fsencode(folder / "grpc.sock")) <= MAX_SOCKET_PATH_BYTES:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="wsgiapp-rest-", dir="/tmp"))  # made with 0700, of a random name  # nosec B108


def _holds(file: Path, pid: int) -> bool:
    with suppress(OSError):
        return file.read_text(encoding="ascii") == str(pid)
    return False
