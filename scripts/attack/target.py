"""`Target`: a worker and a model server with the demo models, and what can be seen of them."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from attack.request import HeavyRequest
from bench.processes import Child, Failure, wait_for
from bench.systems import free_port

WORKER = Path(__file__).with_name("worker.py")
REPOSITORY = WORKER.parents[2]
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


class Target:
    """Both processes, in a home folder of their own."""

    def __init__(self, home: Path, models: Path, variables: Mapping[str, str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home, self._models = home, models.resolve()
        self._port, self._backend_port = free_port(), free_port()
        self._control = home / "turns.sock"
        self._variables = {
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_CONF": str(REPOSITORY / "conf"),
            "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{self._backend_port}",
            "MALLOC_ARENA_MAX": "1",  # as below supervisord
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **variables,
        }
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        configured = "".join(
            f'config {{ name: "{name}" base_path: "{self._models / name}" model_platform: "tensorflow" }} '
            for name in MODELS
        )
        config = self._home / "models.config"
        config.write_text(f"model_config_list {{ {configured} }}")
        flags = [f"--port={self._backend_port}", "--host=127.0.0.1", f"--model_config_file={config}"]
        self.model_server = self._start("modelserver", ["-m", "wsgiapp.modelserver", *flags])
        self.worker = self._start("worker", [str(WORKER), str(self._control), f"--listen=127.0.0.1:{self._port}"])
        for _ in wait_for(START_SECONDS):
            for child in self._children:
                child.require_alive()
            if self._is_ready():
                return self
        raise Failure(f"not ready: {self._children[1].last_words}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for child in self._children:
            child.stop()

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

    def longest_turn(self) -> Turn:
        """Since it was asked for the last time."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._control))
            return Turn(**json.loads(client.makefile().read()))

    def take_peak(self, pid: int) -> int:
        """The bytes of memory that a process has held since it was asked for the last time."""
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
        Path(f"/proc/{pid}/clear_refs").write_text(PEAK_ONLY)
        return int(found[1]) * 1024 if found else 0

    def _start(self, name: str, arguments: list[str]) -> int:
        child = Child([sys.executable, *arguments], self._home / f"{name}.log", self._variables)
        self._children.append(child)
        return child.pid

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
