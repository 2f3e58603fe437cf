"""Fixtures that several tests share: a tiny model, the model server that serves it, and the whole stack."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest
from supervisor.xmlrpc import SupervisorTransport

from support import REPOSITORY, Process, fetch, free_port, give_lexicon, poll, python_module

# A shell that runs the tests in its background has them ignore SIGINT, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_MODEL = Path(__file__).with_name("tiny_model.py")


def save_tiny_model(version: Path, shift: float) -> None:
    """Write a SavedModel; in a process of its own, so that the tests' process stays without TensorFlow."""
    env = {**os.environ, "KERAS_HOME": str(version.parent), "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, str(TINY_MODEL), str(version), str(shift)], check=True, env=env)


@pytest.fixture(scope="session")
def tiny_versions(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two SavedModels to copy from: version 1 answers x / 2 + 2, version 2 x / 2 + 3."""
    folder = tmp_path_factory.mktemp("tiny")
    for version, shift in ((1, 2.0), (2, 3.0)):
        save_tiny_model(folder / str(version), shift)
    return {1: folder / "1", 2: folder / "2"}


@pytest.fixture(scope="session")
def tiny_server(tiny_versions: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a model server that serves version 1 and 2 of `tiny`; not to be stopped."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    config = folder / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{
            name: "tiny" base_path: "{tiny_versions[1].parent}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
        }} }}"""
    )
    command = python_module(
        "wsgiapp.modelserver", f"--port={port}", "--host=127.0.0.1", f"--model_config_file={config}"
    )
    with Process(command, folder / "log", KERAS_HOME=str(folder)) as process:
        process.wait_until(lambda: "serving gRPC" in process.output)
        yield f"127.0.0.1:{port}"


class RunningStack:
    """All processes of the service, as `wsgiapp up` starts them, in a home folder of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port, self.backend_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        models = Path(os.environ.get("WSGIAPP_HOME", REPOSITORY / "var")) / "models"
        assert (models / "lstm/1/saved_model.pb").exists(), f"no demo models in {models}; `make models` trains them"
        for model in ("lstm", "cv_sod"):  # the demo models alone, and not what else was put beside them
            shutil.copytree(models / model / "1", home / "models" / model / "1")
        shutil.copytree(REPOSITORY / "conf", home / "conf")
        give_lexicon(home)
        self.variables = {
            "WSGIAPP_APP_WORKERS": "2",
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_CONF": str(home / "conf"),
            "WSGIAPP_HTTP_PORT": str(self.port),
            "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{self.backend_port}",
            "WSGIAPP_LIMITS_BODY_BYTES": str(2 * 2**20),
            "WSGIAPP_LIMITS_REQUEST_LINE_BYTES": str(512 * 1024),
        }

    def wsgiapp(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the `wsgiapp` command on this stack."""
        return self._run(python_module("wsgiapp.cli", *arguments), **variables)

    def supervisorctl(self, *arguments: str) -> str:
        program = str(Path(sys.executable).with_name("supervisorctl"))
        return self._run([program, "-c", str(self.home / "run/supervisord.conf"), *arguments]).stdout

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


@pytest.fixture(scope="session")
def session_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    stack = RunningStack(tmp_path_factory.mktemp("stack"))
    up = stack.wsgiapp("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr + stack.logs()
        yield stack
    finally:
        stack.wsgiapp("down")


@pytest.fixture
def stack(session_stack: RunningStack, request: pytest.FixtureRequest) -> Iterator[RunningStack]:
    """The running stack, ready; what a test broke is mended before the next one."""
    if len(session_stack.pids()) < 4:
        session_stack.supervisorctl("start", "all")
    session_stack.wait_until_ready()
    failed_before = request.session.testsfailed
    yield session_stack
    if request.session.testsfailed > failed_before:
        print(session_stack.logs())
