"""Requests with the one right answer of each: what is sent, and what judges the body that comes back.

A benchmark that looks at the status alone measures error answers as gladly as predictions. So every body is compared:
the label and the softmax of that sentence, the size and the mask of that picture.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import orjson

# Answers are rounded, and a batch of another shape changes the last digits of a float32.
SOFTMAX_TOLERANCE = 1e-3
# Grey levels of 255, on the average of the mask: another order of the same float32 steps moves a pixel by one.
MASK_TOLERANCE = 0.5


class Case(Protocol):
    """One request and its judge; picklable, because the load generator is another process."""

    @property
    def request(self) -> bytes:
        """The whole HTTP request for a connection that is kept open."""

    def accepts(self, body: bytes) -> bool:
        """Whether `body` is the right answer."""


@dataclass(frozen=True)
class TextCase:
    """A sentence; `label`, `class_id` and `softmax` are what the model says to it alone."""

    request: bytes
    label: str
    class_id: int
    softmax: tuple[float, ...]

    def accepts(self, body: bytes) -> bool:
        answer = _parse(body)
        return answer.get("status") == 0 and self.matches(answer)

    def matches(self, answer: dict[str, Any]) -> bool:
        """Whether these are the model's outputs for the sentence."""
        softmax = answer.get("softmax")
        return (
            answer.get("labels") == self.label
            and answer.get("classes_id") == self.class_id
            and isinstance(softmax, list)
            and len(softmax) == len(self.softmax)
            and all(abs(a - b) <= SOFTMAX_TOLERANCE for a, b in zip(softmax, self.softmax, strict=True))
        )


@dataclass(frozen=True)
class RestCase:
    """A segmented sentence for TensorFlow Serving's REST API, one row a request."""

    request: bytes
    text: TextCase

    def accepts(self, body: bytes) -> bool:
        rows = _parse(body).get("predictions")
        return isinstance(rows, list) and len(rows) == 1 and self.text.matches(rows[0])


@dataclass(frozen=True)
class ImageCase:
    """A picture; `mask` is a PNG of the map that belongs to it, uint8 (height, width)."""

    request: bytes
    mask: bytes

    def accepts(self, body: bytes) -> bool:
        answer = _parse(body)
        expected = _grey(self.mask)
        try:
            mask = _grey(base64.b64decode(answer.get("img_out", ""), validate=True))
        except (binascii.Error, TypeError, ValueError):
            return False
        if expected is None or mask is None or mask.shape != expected.shape or answer.get("status") != 0:
            return False
        if answer.get("shape") != list(expected.shape):
            return False
        return float(np.abs(mask.astype(np.int16) - expected).mean()) <= MASK_TOLERANCE


@dataclass(frozen=True)
class ConstantCase:
    """A request whose answer never changes: for an application that does nothing."""

    request: bytes
    body: bytes

    def accepts(self, body: bytes) -> bool:
        return body == self.body


def post(path: str, body: bytes, content_type: str) -> bytes:
    """An HTTP/1.1 request, whole."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: wsgiapp-bench\r\nAccept: */*\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


def post_json(path: str, value: Any) -> bytes:
    """An HTTP/1.1 request with a JSON body in UTF-8, as browsers write it."""
    return post(path, json.dumps(value, ensure_ascii=False).encode(), "application/json")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _grey(png: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
