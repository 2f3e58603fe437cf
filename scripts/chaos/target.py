"""The stack that faults are made in: a home of its own, with a configuration and models that may be changed."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from bench.processes import Failure, command_line, tree, wait_for
from bench.systems import REPOSITORY, Stack, environment

RECOVERY_SECONDS = 60.0
READY_SECONDS = 2.0
MODEL = "lstm"


class Target(Stack):
    """This service as `wsgiapp up` starts it. Raises `Failure` where a process is missing."""

    def __init__(self, home: Path, models: Path, variables: Mapping[str, str] | None = None) -> None:
        super().__init__(home, models)
        self._variables = dict(variables or {})

    def start(self) -> None:
        """Raises `Failure` with what the command said."""
        self.stop()
        shutil.rmtree(self.home / "models", ignore_errors=True)
        shutil.rmtree(self.home / "conf", ignore_errors=True)
        shutil.copytree(self.models, self.home / "models", ignore=shutil.ignore_patterns(".*"))
        shutil.copytree(REPOSITORY / "conf", self.home / "conf")
        self.command("up")

    def stop(self) -> None:
        """Harmless where nothing runs."""
        if (self.home / "run").exists():
            self._run("down")

    def command(self, *arguments: str) -> str:
        """What a sub-command of `wsgiapp` prints. Raises `Failure` where it fails."""
        done = self._run(*arguments)
        if done.returncode != 0:
            raise Failure(f"wsgiapp {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def supervisorctl(self, *arguments: str) -> None:
        """An order for supervisord, as an operator gives it."""
        program = Path(sys.executable).with_name("supervisorctl")
        command = [str(program), "-c", str(self.home / "run/supervisord.conf"), *arguments]
        subprocess.run(command, capture_output=True, timeout=RECOVERY_SECONDS, check=False)

    def add_version(self) -> int:
        """A new version of the text model, which answers like the others; its number."""
        folder = self.home / "models" / MODEL
        version = 1 + max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
        partial = folder / f".{version}"
        shutil.copytree(folder / "1", partial)
        partial.rename(folder / str(version))
        return version

    @property
    def supervisord(self) -> int:
        """Its process id."""
        return int((self.home / "run/supervisord.pid").read_text())

    @property
    def workers(self) -> list[int]:
        """The process ids of the gateway's workers."""
        return self._of("-m wsgiapp.worker")

    @property
    def model_server(self) -> int:
        """The process id of the model server."""
        return self._of("-m wsgiapp.modelserver")[0]

    @property
    def nginx_master(self) -> int:
        """The process id of Nginx's master."""
        return self._of("nginx: master")[0]

    @property
    def nginx_workers(self) -> list[int]:
        """The process ids of Nginx's workers."""
        return self._of("nginx: worker")

    def recover(self) -> float:
        """Wait until every process runs and the service is ready; the seconds that took. Raises `Failure`."""
        started = time.monotonic()
        for _ in wait_for(RECOVERY_SECONDS, every=0.2):
            if self._run("status").returncode == 0 and self._is_ready():
                return time.monotonic() - started
        raise Failure(f"not ready again after {RECOVERY_SECONDS:.0f} s:\n{self._run('status').stdout}{self.last_words}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=READY_SECONDS)
        with suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def _of(self, words: str) -> list[int]:
        found = [pid for pid in tree(self.supervisord) if words in command_line(pid)]
        if not found:
            raise Failure(f"no process {words!r}")
        return found

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        variables = {
            **environment(self.backend),
            "WSGIAPP_HOME": str(self.home),
            "WSGIAPP_CONF": str(self.home / "conf"),
            "WSGIAPP_HTTP_PORT": str(self.port),
            "WSGIAPP_BACKEND_ADDRESS": self.backend,
            **self._variables,
        }
        command = [sys.executable, "-m", "wsgiapp.cli", *arguments]
        return subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, start_new_session=True
        )


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Send a signal to each; one that has ended is left out."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
