"""Random requests for the whole API: right ones, of which parts are exchanged, repeated, cut off or damaged."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import quote_from_bytes

PATHS = (
    "/lstm/predict",
    "/cv_sod/predict",
    "/predict",
    "/nobody/predict",
    "/v1/models/lstm:predict",
    "/v1/models/lstm/versions/1:predict",
    "/v1/models/cv_sod:predict",
    "/v1/models/lstm:classify",
    "/v1/models/lstm:regress",
    "/v1/models/lstm",
    "/v1/models/lstm/metadata",
    "/v1/models/lstm/labels/stable:predict",
    "/v1/models",
    "/v1/config",
    "/healthz",
    "/readyz",
    "/metrics",
    "/_problem/400",
    "/",
)
METHODS = ("GET", "POST", "POST", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW")
TYPES = (
    "application/json",
    "application/json; charset=gbk",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=frontier",
    "multipart/form-data",
    "image/png",
    "application/octet-stream",
    "",
)
TEXT = "我很喜欢中国银行的产品"
NUMBERS: tuple[object, ...] = (
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64,
    1e308,
    float("nan"),
    float("inf"),
    0.5,
    True,
    None,
    "1",
    "",
    [],
    {},
    [[]],
)
FIELDS = ("line", "lines", "words", "nwords", "img", "version", "label", "encoding", "instances", "inputs", "examples")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HEADERS = (
    "X-Request-Timeout: 1",
    "X-Request-Timeout: nan",
    "X-Request-ID: ../../etc",
    "X-Forwarded-For: 6.6.6.6, evil",
    "X-Priority: batch",
    "Accept: image/png",
    "Accept: */*;q=x, " + "a/b, " * 50,
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Authorization: Bearer x",
    "Range: bytes=0-1",
    "If-None-Match: *",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Origin: null",
    "Cookie: a=b; c",
    "X-A: \u00ff",
)
DAMAGE = (b"\x00", b"\xff", b'"', b"{", b"[", b"]", b"\\", b",", b"\r\n", b"%", b"&", b"=", b"\xed\xa0\x80", b"1e999")


class Request(NamedTuple):
    """What is sent. `is_whole`: a server can tell where it ends, and so has to answer it."""

    sent: bytes
    is_whole: bool


class Requests:
    """An endless supply; the same `seed` makes the same requests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __next__(self) -> Request:
        """One request, the connection to be closed after its answer."""
        choose = self._random.choice
        method, path = choose(METHODS), choose(PATHS)
        body = choose(self._bodies)()
        headers = [f"Content-Type: {kind}" for kind in (choose(TYPES),) if kind]
        headers += self._random.sample(HEADERS, choose((0, 0, 0, 1, 2)))
        if self._random.random() < 0.1:
            body, headers = gzip.compress(body, mtime=0), [*headers, "Content-Encoding: gzip"]
        if self._random.random() < 0.4:
            path += "?" + self._query()
        if method in ("GET", "HEAD", "OPTIONS") and self._random.random() < 0.9:
            body = b""
        body = self._damaged(body) if self._random.random() < 0.3 else body
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: fuzz",
            "Connection: close",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        request = "\r\n".join([*head, "", ""]).encode("latin-1") + body
        is_whole = self._random.random() < 0.95
        return Request(request if is_whole else self._damaged(request), is_whole)

    @property
    def _bodies(self) -> Sequence[Callable[[], bytes]]:
        return (
            self._json,
            self._json,
            self._rest,
            self._form,
            self._multipart,
            lambda: self._damaged(PNG),
            lambda: b"",
        )

    def _value(self) -> object:
        text = base64.b64encode(TEXT.encode()).decode()
        words = ["我", "很", "喜欢"]
        return self._random.choice(
            (TEXT, text, words, [words], str(words), {"b64": text}, base64.b64encode(PNG).decode(), *NUMBERS)
        )

    def _json(self) -> bytes:
        names = self._random.sample(FIELDS, self._random.choice((1, 1, 2, 3)))
        return json.dumps({name: self._value() for name in names}, ensure_ascii=False).encode()

    def _rest(self) -> bytes:
        row = {name: self._value() for name in self._random.sample(("words", "nwords", "img_in", "x"), 2)}
        rows: object = self._random.choice(([row], [row, row], row, [self._value()], self._value()))
        return json.dumps({self._random.choice(("instances", "inputs", "examples")): rows}).encode()

    def _form(self) -> bytes:
        return self._query().encode("latin-1")

    def _query(self) -> str:
        pairs = []
        for name in self._random.sample(FIELDS, self._random.choice((1, 2))):
            value = self._value()
            text = value if isinstance(value, str) else json.dumps(value)
            pairs.append(f"{name}={quote_from_bytes(self._damaged(text.encode()), safe='+/')}")
        return "&".join(pairs)

    def _multipart(self) -> bytes:
        lines = []
        for name in self._random.sample(FIELDS, 2):
            file = '; filename="a.png"' if self._random.random() < 0.5 else ""
            value = PNG if file else str(self._value()).encode()
            lines += [b"--frontier", f'Content-Disposition: form-data; name="{name}"{file}'.encode(), b"", value]
        return b"\r\n".join([*lines, self._random.choice((b"--frontier--", b"--frontier", b"")), b""])

    def _damaged(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.choice((0, 1, 1, 2, 5))):
            place = self._random.randrange(len(changed) + 1)
            if self._random.random() < 0.5:
                changed[place:place] = self._random.choice(DAMAGE)
            else:
                del changed[place : place + self._random.choice((1, 2, 40))]
        return bytes(changed)
