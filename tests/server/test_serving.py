"""A real worker whose output nobody reads serves on, and says afterwards what is missing."""

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.http_client import fetch
from support.images import image_file, photograph, png_chunk
from support.processes import free_port, poll, python_module

TOML = """
[log]
level = "debug"
[models.picture]
pipeline = "saliency"
"""
REQUESTS = 3000


class Reader:
    """Reads a pipe to its end, from when it is told to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pieces: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)

    @property
    def data(self) -> bytes:
        return b"".join(self._pieces)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> bytes:
        self._thread.join(60)
        return self.data

    def _read(self) -> None:
        while piece := os.read(self._descriptor, 1 << 20):
            self._pieces.append(piece)
        os.close(self._descriptor)


class UnreadWorker:
    """A worker with a pipe each for standard output and standard error; that of standard error is full already."""

    def __init__(self, folder: Path, **variables: str) -> None:
        (folder / "wsgiapp.toml").write_text(TOML)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (out, write_out), (err, write_err) = os.pipe(), os.pipe()
        self.out, self.err = Reader(out), Reader(err)
        os.set_blocking(write_err, False)
        self.filled = os.write(write_err, b"\n" * (1 << 20))
        os.set_blocking(write_err, True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        self.child = subprocess.Popen(
            python_module("wsgiapp.worker", f"--listen=127.0.0.1:{self.port}"),
            env={**inherited, "WSGIAPP_CONF": str(folder), "WSGIAPP_HOME": str(folder), **variables},
            stdout=write_out,
            stderr=write_err,
        )
        os.close(write_out)
        os.close(write_err)
        poll(self._answers, what="the worker's being ready")

    def _answers(self) -> bool:
        try:
            return fetch(f"{self.url}/healthz").status == 200
        except OSError:
            return False


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[UnreadWorker]:
    started = UnreadWorker(tmp_path)
    yield started
    started.child.kill()
    started.child.wait()


def test_a_worker_whose_output_nobody_reads_serves_on(worker: UnreadWorker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=60)
    for _ in range(REQUESTS):
        connection.request("GET", "/" + "x" * 900)  # its line has more than two thousand bytes
        assert connection.getresponse().read()
    connection.close()
    picture = image_file(photograph())
    noted = picture[:33] + png_chunk(b"gAMA", b"abc") + picture[33:]  # libpng warns of it
    for file, status in ((picture[:-30], 400), (noted, 503)):  # there is no model server
        answer = fetch(f"{worker.url}/picture/predict", {"img": base64.b64encode(file).decode()})
        assert answer.status == status, answer.body
    found = re.search(rb'wsgiapp_log_lines_dropped_total\{log="access"\} (\S+)', fetch(f"{worker.url}/metrics").body)
    assert found and float(found[1]) > 0

    worker.out.start()
    poll(lambda: b'"dropped_lines":' in worker.out.data, what="the number of dropped lines in the log")
    assert fetch(f"{worker.url}/healthz").status == 200
    worker.err.start()
    worker.child.send_signal(signal.SIGTERM)
    assert worker.child.wait(60) == 0
    lines = [json.loads(line) for line in worker.out.join().splitlines()]
    dropped = sum(line.get("dropped_lines", 0) for line in lines)
    assert sum("path" in line for line in lines) + dropped == REQUESTS + 5
    assert dropped >= float(found[1])
    assert lines[-1]["path"] == "/healthz"

    log = worker.err.join()[worker.filled :].decode().splitlines()
    assert "ready, pid" in log[0] and "drained" in log[-1]
    assert [line for line in log if "DEBUG wsgiapp.observability.native_output: printed: libpng" in line]
    assert [line for line in log if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [a-z]", line)] == []


def test_the_traceback_of_a_crash_is_not_lost(worker: UnreadWorker) -> None:
    worker.err.start()
    worker.child.send_signal(signal.SIGSEGV)
    assert worker.child.wait(60) == -signal.SIGSEGV
    assert b"Fatal Python error: Segmentation fault" in worker.err.join()
    assert b"Current thread" in worker.err.data and b"log_writer.py" in worker.err.data


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """The run folder, on a disk of its own without room for another byte, or another file."""
    run = tmp_path / "run"
    (run / "metrics").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=4", "tmpfs", str(run)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a disk that is full")
    try:
        (run / "metrics").mkdir()
        with suppress(OSError), (run / "rest").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        with suppress(OSError):
            (run / "last").touch()
        yield run
    finally:
        subprocess.run(["umount", "-l", str(run)], check=True)


def test_a_worker_starts_and_serves_on_a_full_disk(full_disk: Path) -> None:
    metrics = {"PROMETHEUS_MULTIPROC_DIR": str(full_disk / "metrics"), "SUPERVISOR_PROCESS_NAME": "app_00"}
    worker = UnreadWorker(full_disk.parent, **metrics)
    try:
        file = image_file(photograph())
        answer = fetch(f"{worker.url}/picture/predict", {"img": base64.b64encode(file).decode()})
        assert answer.status == 503, "there is no model server"
        assert fetch(f"{worker.url}/metrics").status == 200, "with what the other workers' files hold"
        worker.out.start()
        worker.err.start()
        worker.child.send_signal(signal.SIGTERM)
        assert worker.child.wait(60) == 0
        assert b"run/app_00.ready: No space left on device; the worker serves" in worker.err.join()
    finally:
        worker.child.kill()
        worker.child.wait()
