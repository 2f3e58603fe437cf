"""What several tests need: free ports, polling, processes with a log, an HTTP client, small image files."""

import atexit
import functools
import http.client
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import cv2
import numpy as np

from wsgiapp.pipelines.lexicon import load_lexicon

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@functools.cache
def lexicon_folder() -> Path:
    """A cache folder with what the service keeps of jieba; it takes seconds to make, so all tests share it."""
    folder = Path(tempfile.mkdtemp(prefix="wsgiapp-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    load_lexicon(folder)
    return folder


def give_lexicon(home: Path) -> None:
    """Put it into the cache of a home folder."""
    shutil.copytree(lexicon_folder(), home / "cache", dirs_exist_ok=True)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def poll(done: Callable[[], Any], seconds: float = 60.0, what: str = "the condition") -> Any:
    """The first true value of `done`; fails the test when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := done():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds:.0f} s")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def fetch(
    url: str,
    body: bytes | Mapping[str, Any] | None = None,
    method: str | None = None,
    timeout: float = 60,
    **headers: str,
) -> Answer:
    """One request on a connection of its own; a mapping goes as JSON; `Content_Type=` names a header."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, Mapping):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    started = time.monotonic()
    try:
        connection.request(method or ("GET" if body is None else "POST"), target, body, sent)
        response = connection.getresponse()
        content = response.read()
        return Answer(response.status, dict(response.getheaders()), content, time.monotonic() - started)
    finally:
        connection.close()


def multipart(name: str, filename: str, content: bytes, **fields: str) -> tuple[bytes, str]:
    """A multipart/form-data body with one file, and its content type."""
    boundary = "----wsgiapp-test"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", content, b"\r\n"]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Process:
    """A child process with its output in a file. Ended, by force if need be, when the `with` block is left."""

    def __init__(self, arguments: list[str], log: Path, **variables: str) -> None:
        self.log = log
        # The settings of the shell that runs the tests must not reach the processes under test.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                arguments, env={**inherited, **variables}, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        self.pid = self._child.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def wait(self, seconds: float = 60.0) -> int:
        return self._child.wait(seconds)

    def wait_until(self, done: Callable[[], Any], seconds: float = 90.0) -> Any:
        """The first true value of `done`; fails with the log's end when it does not come, or the process ends."""

        def check() -> Any:
            assert self.returncode is None, f"ended with {self.returncode}:\n{self.output[-4000:]}"
            return done()

        try:
            return poll(check, seconds)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.output[-4000:]}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.returncode is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                self.wait(30)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self.wait()


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this project."""
    return [sys.executable, "-m", name, *arguments]


class Background:
    """Runs what `runs` names, each on a thread of its own, until the `with` block is left; they look at `stop`."""

    def runs(self) -> list[Callable[[], None]]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=run) for run in self.runs()]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()


@dataclass
class Load(Background):
    """Steady requests from several threads, each on a keep-alive connection, until the `with` block is left."""

    url: str
    is_right: Callable[[bytes], bool]
    threads: int = 4
    answered: int = 0
    failures: list[str] = field(default_factory=list)

    def runs(self) -> list[Callable[[], None]]:
        return [self._run] * self.threads

    def _run(self) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        while not self.stop.is_set():
            try:
                connection.request("GET", f"{parts.path}?{parts.query}")
                response = connection.getresponse()
                body = response.read()
                if response.status != 200 or not self.is_right(body):
                    self.failures.append(f"{response.status} {body[:200]!r}")
                self.answered += 1
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                connection.close()
        connection.close()


def photograph(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """A red ball in front of blurred noise, uint8 (height, width, 3) in BGR order: compresses like a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.circle(image, (width // 2, height // 2), min(height, width) // 4, (30, 40, 220), -1, cv2.LINE_AA)


def image_file(image: np.ndarray, extension: str = ".png") -> bytes:
    """An image file of an array in OpenCV's BGR order."""
    return bytes(cv2.imencode(extension, image)[1])


def huge_png(width: int, height: int) -> bytes:
    """A well-formed PNG header of that size with next to no data behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)))
    file.write(chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9)))
    file.write(chunk(b"IEND", b""))
    return file.getvalue()


def gzip_bomb(megabytes: int) -> bytes:
    """A gzip stream of zeros: one flushed block of a megabyte, again and again."""
    deflater = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    head = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with an EXIF block that says how to turn it (tag 0x0112)."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
