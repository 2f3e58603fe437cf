"""`RunningStack`: all processes of the service."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from support.http_client import fetch
from support.lexicon import give_lexicon
from support.processes import REPOSITORY, free_port, poll, python_module


class RunningStack:
    """All processes of the service, as `wsgiapp up` starts them, in a home folder of their own.

    supervisord takes a program for started after one second, unless `as_deployed`: each start waits for it.
    """

    def __init__(self, home: Path, *, as_deployed: bool = False) -> None:
        self.home = home
        self.port, self.backend_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        models = Path(os.environ.get("WSGIAPP_HOME", REPOSITORY / "var")) / "models"
        assert (models / "lstm/1/saved_model.pb").exists(), f"no demo models in {models}; `make models` trains them"
        for model in ("lstm", "cv_sod"):  # the demo models alone, and not what else was put beside them
            shutil.copytree(models / model / "1", home / "models" / model / "1")
        shutil.copytree(REPOSITORY / "conf", home / "conf")
        if not as_deployed:
            for path in (home / "conf/supervisord.conf", home / "conf/supervisor/container.conf"):
                path.write_text(path.read_text().replace("startsecs=3\n", "startsecs=1\n"))
        give_lexicon(home)
        self.variables = {
            "WSGIAPP_APP_WORKERS": "2",
            "WSGIAPP_APP_WATCHDOG_SECONDS": "0",  # tests stop processes, and see what the others do
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_CONF": str(home / "conf"),
            "WSGIAPP_BACKEND_RECONNECT_WAIT_SECONDS": "0.5",  # a model server that is stopped is found out soon
            "WSGIAPP_HTTP_PORT": str(self.port),
            "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{self.backend_port}",
            "WSGIAPP_LIMITS_BODY_BYTES": str(2 * 2**20),
            "WSGIAPP_LIMITS_REQUEST_LINE_BYTES": str(512 * 1024),
        }

    def second_terminal(self) -> Self:
        """The same stack, to a shell that knows its home and none of the other variables."""
        other = copy.copy(self)
        other.variables = {"WSGIAPP_HOME": str(self.home)}
        return other

    def wsgiapp(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the `wsgiapp` command on this stack."""
        return self._run(python_module("wsgiapp.cli", *arguments), **variables)

    def supervisorctl(self, *arguments: str) -> str:
        program = str(Path(sys.executable).with_name("supervisorctl"))
        return self._run([program, "-c", str(self.home / "run/supervisord.conf"), *arguments]).stdout

    def bash(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell's script with this stack's settings."""
        return self._run(["bash", "-c", script])

    def pids(self) -> dict[str, int]:
        """The process ids of the running programs, by supervisorctl's names."""
        transport = SupervisorTransport(None, None, f"unix://{self.home}/run/supervisor.sock")
        processes: Any = ServerProxy("http://127.0.0.1", transport).supervisor.getAllProcessInfo()
        return {
            each["name"] if each["name"] == each["group"] else f"{each['group']}:{each['name']}": each["pid"]
            for each in processes
            if each["statename"] == "RUNNING"
        }

    def is_ready(self) -> bool:
        try:
            return fetch(f"{self.url}/readyz", timeout=10).status == 200
        except OSError:
            return False

    def wait_until_ready(self) -> None:
        poll(lambda: len(self.pids()) == 4 and self.is_ready(), 90, "a ready stack")

    def logs(self) -> str:
        """The end of each log, for a failing test."""
        texts = [f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in self.home.glob("log/*.log")]
        return "\n".join(texts)

    def _run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        env = {**inherited, **self.variables, **variables}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
