"""What is a right answer, and what is not."""

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest

from bench.cases import ImageCase, RestCase, TextCase, post, post_json

TEXT = TextCase(post_json("/lstm/predict", {"line": "好"}), "POS", 1, (0.2, 0.8))
RIGHT = {"status": 0, "labels": "POS", "classes_id": 1, "softmax": [0.2004, 0.7996], "model": {"name": "lstm"}}
MASK = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def png(mask: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", mask)[1])


def picture(mask: np.ndarray, **changed: Any) -> bytes:
    answer = {"status": 0, "img_out": base64.b64encode(png(mask)).decode(), "shape": list(mask.shape), **changed}
    return json.dumps(answer).encode()


def test_a_request_is_whole() -> None:
    head, _, body = TEXT.request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /lstm/predict HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert json.loads(body) == {"line": "好"}


def test_the_right_text() -> None:
    assert TEXT.accepts(json.dumps(RIGHT).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": "NEG"},
        {"classes_id": 0},
        {"softmax": [0.19, 0.81]},
        {"softmax": [0.2, 0.8, 0.0]},
        {"softmax": 0.2},
        {"status": 3},
        {"status": None},
    ],
)
def test_a_wrong_text(changed: dict[str, Any]) -> None:
    assert not TEXT.accepts(json.dumps({**RIGHT, **changed}).encode())


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"status": 0}', b"<html>", b"\xff"])
def test_no_text_at_all(body: bytes) -> None:
    assert not TEXT.accepts(body)


def test_rest() -> None:
    case = RestCase(post_json("/v1/models/lstm:predict", {"instances": []}), TEXT)
    row = {name: RIGHT[name] for name in ("labels", "classes_id", "softmax")}
    assert case.accepts(json.dumps({"predictions": [row]}).encode())
    assert not case.accepts(json.dumps({"predictions": [{**row, "labels": "NEG"}]}).encode())
    assert not case.accepts(json.dumps({"predictions": [row, row]}).encode())
    assert not case.accepts(b'{"error": "x"}')


def test_pictures() -> None:
    case = ImageCase(post("/cv_sod/predict", b"jpeg", "image/jpeg"), png(MASK))
    nearly = MASK.copy()
    nearly[0, 0] += 1
    assert case.accepts(picture(MASK)) and case.accepts(picture(nearly))
    assert not case.accepts(picture(MASK[:, ::-1]))  # another map
    assert not case.accepts(picture(MASK.T))  # another size
    assert not case.accepts(picture(np.zeros_like(MASK)))
    assert not case.accepts(picture(MASK, shape=[1, 1]))
    assert not case.accepts(picture(MASK, img_out="!"))
    assert not case.accepts(picture(MASK, img_out=""))
    assert not case.accepts(picture(MASK, img_out=None))
    assert not case.accepts(picture(MASK, status=1))
