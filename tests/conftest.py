"""Fixtures that several tests share: a tiny model, the model server that serves it, and the whole stack."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import SUPPORT, Process, free_port, python_module
from support.stack import RunningStack

# A shell that runs the tests in its background has them ignore SIGINT, which every child would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# coverage.py, where it knows greenlets, leaves a greenlet in each thread that it traces. When several of these threads
# end together, CPython 3.11 may loop for good (a traced RESUME looks for pending calls before anything else, over and
# over). So the threads of the tests' own process are not traced; those of the processes that they start are.
threading.settrace(None)  # type: ignore[arg-type]

# gRPC's own client, requests and curl would ask a company's proxy for 127.0.0.1. Tests of the project's own set one.
for variable in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
    os.environ.pop(variable, None)
    os.environ.pop(variable.upper(), None)

TINY_MODEL = SUPPORT / "tiny_model.py"


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
