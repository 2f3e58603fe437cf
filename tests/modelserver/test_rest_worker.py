"""The gateway worker that serves the model server's REST API."""

import os
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2, wrappers_pb2

from support.http_client import fetch
from support.processes import Process, free_port, poll
from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.rest_worker import RestWorker
from wsgiapp.tfserving.messages import MODEL_MANAGEMENT

METRICS = b"# TYPE x counter\nx 1.0\n"


def is_up(port: int) -> bool:
    try:
        return fetch(f"http://127.0.0.1:{port}/healthz", timeout=10).status == 200
    except OSError:
        return False


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def rest() -> Iterator[RestWorker]:
    """A worker over a model server that knows one method."""
    made = RestWorker("127.0.0.1", free_port(), drain_seconds=5, metrics_path="/monitoring/prometheus/metrics")
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, context: wrappers_pb2.BytesValue(value=METRICS),
        request_deserializer=empty_pb2.Empty.FromString,
        response_serializer=wrappers_pb2.BytesValue.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(MODEL_MANAGEMENT, {"GetMetrics": handler}),))
    server.add_insecure_port(made.backend_address)
    server.start()
    yield made
    made.stop(10)
    server.stop(None).wait()


def test_it_serves_and_leaves_nothing_behind(rest: RestWorker) -> None:
    port = int(rest.address.rpartition(":")[2])
    folder = Path(rest.backend_address.removeprefix("unix:")).parent
    assert folder.stat().st_mode & 0o077 == 0, "only this user may reach the model server's socket"
    assert not is_up(port)
    rest.start()
    poll(lambda: is_up(port), 60)
    answer = fetch(f"http://127.0.0.1:{port}/monitoring/prometheus/metrics")
    assert (answer.status, answer.body) == (200, METRICS)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    nothing = fetch(f"http://127.0.0.1:{port}/predict?line=x")
    assert nothing.status == 404
    assert "no model is configured" in nothing.json["detail"]
    pid = int((folder / "run" / "rest.ready").read_text())

    os.kill(pid, signal.SIGKILL)
    assert fetch(f"http://127.0.0.1:{port}/healthz", timeout=60).status == 200, "clients wait for the next worker"
    second = int(poll(lambda: (text := (folder / "run" / "rest.ready").read_text()) != str(pid) and text, 10))

    rest.stop(20)
    assert not is_running(second)
    assert not folder.exists()
    assert not is_up(port)


def test_a_port_that_is_taken_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"--rest_api_port={port}: .* cannot be bound: Address already in use"):
            RestWorker("127.0.0.1", port, drain_seconds=1)


def test_it_ends_with_the_model_server_however_that_ends(tmp_path: Path) -> None:
    port = free_port()
    code = f"""
        import time
        from wsgiapp.modelserver.rest_worker import RestWorker
        rest = RestWorker("127.0.0.1", {port}, drain_seconds=1)
        rest.start()
        print(rest.backend_address, flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with Process(command, tmp_path / "log", TMPDIR=str(tmp_path)) as parent:
        parent.wait_until(lambda: is_up(port))
        address = next(line for line in parent.output.splitlines() if line.startswith("unix:"))
        ready = Path(address.removeprefix("unix:")).with_name("run") / "rest.ready"
        worker = int(poll(lambda: ready.exists() and ready.read_text(), 30))
        parent.send(signal.SIGKILL)
        poll(lambda: not is_running(worker), 30)
    assert not is_up(port)


def test_a_worker_that_cannot_start_is_tried_again_with_pauses(
    rest: RestWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    started = time.monotonic()
    rest.start()
    poll(lambda: len([each for each in caplog.records if "started again" in each.message]) >= 3, 30)
    assert time.monotonic() - started > 0.5 + 1.0
