"""An HTTP client that reads answers whole, and a steady load."""

import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit


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


def raw_answer(port: int, request: str | bytes) -> tuple[int, Any]:
    """The status and the JSON of the answer to a request that ends its connection; text goes as Latin-1."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request.encode("latin-1") if isinstance(request, str) else request)
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


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
    """Steady requests from several threads until the `with` block is left: each thread keeps its connection, or opens
    one for each request.
    """

    url: str
    is_right: Callable[[bytes], bool]
    threads: int = 4
    keep_alive: bool = True
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
                if not self.keep_alive:
                    connection.close()
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                connection.close()
        connection.close()


def gzip_bomb(megabytes: int) -> bytes:
    """A gzip stream of zeros: one flushed block of a megabyte, again and again."""
    deflater = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    head = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return head + block * (megabytes - 1)
