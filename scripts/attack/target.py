"""A worker and a model server with the demo models, and what can be seen of them."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from attack.request import MEBIBYTE, HeavyRequest
from bench.processes import Child, Failure, wait_for
from bench.systems import free_port

SCRIPT = Path(__file__).with_name("worker.py")
REPOSITORY = SCRIPT.parents[2]
START_SECONDS = 120.0
ANSWER_SECONDS = 120.0
MODELS = ("lstm", "cv_sod")
PEAK_ONLY = "5"  # see proc(5), clear_refs


@dataclass(frozen=True)
class Turn:
    """The seconds of the longest turn of the event loop, and of the machine's measure."""

    wall: float
    cpu: float
    calibration: float


class ModelServer:
    """The built-in one, with the demo models."""

    def __init__(self, home: Path, models: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        configured = "".join(
            f'config {{ name: "{name}" base_path: "{models.resolve() / name}" model_platform: "tensorflow" }} '
            for name in MODELS
        )
        config = home / "models.config"
        config.write_text(f"model_config_list {{ {configured} }}")
        flags = [f"--port={port}", "--host=127.0.0.1", f"--model_config_file={config}"]
        command = [sys.executable, "-m", "wsgiapp.modelserver", *flags]
        self._child = Child(command, home / "modelserver.log", {"TF_CPP_MIN_LOG_LEVEL": "3"})
        self.pid = self._child.pid

    def stop(self) -> None:
        """End it."""
        self._child.stop()


class Worker:
    """A worker by itself, on a TCP port, in a home folder of its own."""

    def __init__(self, home: Path, backend: str, variables: Mapping[str, str] | None = None) -> None:
        """`backend` is the model server's address, `variables` are settings."""
        home.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._control = home / "turns.sock"
        own = {
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_CONF": str(REPOSITORY / "conf"),
            "WSGIAPP_BACKEND_ADDRESS": backend,
            "MALLOC_ARENA_MAX": "1",  # as below supervisord
            "MALLOC_MMAP_THRESHOLD_": str(8 * MEBIBYTE),
        }
        command = [sys.executable, str(SCRIPT), str(self._control), f"--listen=127.0.0.1:{self._port}"]
        self._child = Child(command, home / "worker.log", {**own, **(variables or {})})
        self.pid = self._child.pid

    def wait_for(self, path: str) -> None:
        """Return when `path` is answered with 200: `/healthz` or `/readyz`. Raises `Failure`."""
        for _ in wait_for(START_SECONDS):
            self._child.require_alive()
            with suppress(OSError):
                if self.send(HeavyRequest("", frozenset({200}), path), None) == 200:
                    return
        raise Failure(f"no 200 for {path}: {self._child.last_words}")

    def stop(self) -> None:
        """End it."""
        self._child.stop()

    def send(self, request: HeavyRequest, body: bytes | None) -> int:
        """The answer's status."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, request.path, body, dict(request.headers))
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()

    def max_turn(self) -> Turn:
        """Since it was asked for the last time."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._control))
            return Turn(**json.loads(client.makefile().read()))


def take_peak(pid: int) -> int:
    """The bytes of memory that a process has held since it was asked for the last time."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    Path(f"/proc/{pid}/clear_refs").write_text(PEAK_ONLY)
    return int(found[1]) * 1024 if found else 0
