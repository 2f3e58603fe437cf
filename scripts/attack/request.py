"""`HeavyRequest`: one of them, by name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MEBIBYTE = 2**20
SIMPLE, REST, PICTURE = "/lstm/predict", "/v1/models/lstm:predict", "/cv_sod/predict"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class HeavyRequest:
    """`body` makes the body of so many bytes at the most; without one it is a GET.

    `statuses` are those that it may be answered with, 503 besides where several are sent at the same time.
    """

    name: str
    statuses: frozenset[int]
    path: str
    body: Callable[[int], bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def repeated(before: bytes, unit: bytes, after: bytes) -> Callable[[int], bytes]:
    """A body that is full of `unit`."""
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def numbered(before: bytes, unit: str, after: bytes) -> Callable[[int], bytes]:
    """A body of units with a number in each, as `%07d` in them says."""
    length = len(unit % 0)
    return lambda size: b"".join(
        [before, *((unit % i).encode() for i in range((size - len(before) - len(after)) // length)), after]
    )


def gzipped(body: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """The same in gzip; the size is that of what it inflates to."""
    return lambda size: gzip.compress(body(size))


def post(
    name: str, path: str, body: Callable[[int], bytes], *statuses: int, kind: str = JSON, **headers: str
) -> HeavyRequest:
    """A request with a body."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return HeavyRequest(name, frozenset(statuses), path, body, {"Content-Type": kind, **named})


def as_json(value: Any) -> Callable[[int], bytes]:
    """A body that does not go by the size."""
    return lambda size: json.dumps(value, ensure_ascii=False).encode()
