"""Clients of a Flask service, as short as tutorials print them: with the default settings, and with `flask`."""

# ruff: noqa: S113 - tutorials name no deadline

import _pickle
import base64
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from support.documents import blocks
from support.front import Front
from support.http_client import fetch
from support.images import image_file, photograph
from support.processes import REPOSITORY, free_port
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings
from wsgiapp.web.compatibility import as_flask
from wsgiapp.web.problems import failure_response
from wsgiapp.web.response import answer

needs_nginx = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

PAGE = REPOSITORY / "docs/coming-from-flask.md"
PICTURE = image_file(photograph(33, 77))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` goes by the environment; a proxy does not know the ports of this machine."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def front(session_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    backend = f"127.0.0.1:{session_stack.backend_port}"
    (rewrite,) = [block for block in blocks(PAGE.read_text(encoding="utf-8")) if block.language == "nginx"]
    home = tmp_path_factory.mktemp("flask")
    session_stack.wait_until_ready()
    with Front(home, backend, own_nginx=rewrite.text, WSGIAPP_HTTP_COMPATIBILITY="flask") as started:
        yield started


def sentiment_by_get(address: str, text: str) -> Any:
    line = base64.urlsafe_b64encode(text.encode("utf-8")).decode()
    r = requests.get(address + "/lstm/predict", params={"line": line}).json()
    if r["status"] == 0:
        return r["classes_id"], r["labels"], np.argmax(r["softmax"])
    return None


def sentiment_by_post(address: str, words: list[str]) -> Any:
    r = requests.post(address + "/lstm/predict", json={"words": words, "nwords": len(words)}).json()
    if r["status"] == 0:
        return r["classes_id"], r["labels"], np.argmax(r["softmax"])
    return None


def saliency_by_post(address: str, image: bytes, **more: str) -> Any:
    img = base64.b64encode(image).decode()
    r = requests.post(address + "/cv_sod/predict", json={"img": img, **more}).json()
    if r["status"] == 0:
        return _pickle.loads(base64.b64decode(r["img_out"]))
    return None


def saliency_by_get(address: str, image: bytes, **more: str) -> Any:
    img = base64.b64encode(image).decode()
    r = requests.get(address + "/cv_sod/predict", params={"img": img, **more}).json()
    if r["status"] == 0:
        return _pickle.loads(base64.b64decode(r["img_out"]))
    return None


def see_that_texts_are_answered(address: str) -> None:
    assert sentiment_by_get(address, "我很喜欢中国银行的产品") == (1, "POS", 1)
    assert sentiment_by_post(address, ["非常", "讨厌"]) == (0, "NEG", 0)
    line = base64.b64encode("非常讨厌".encode()).decode()
    assert requests.post(address + "/lstm/predict", data={"line": line}).json()["labels"] == "NEG", "in a form"
    literal = {"words": str(["非常", "讨厌"]), "nwords": 2}
    assert requests.get(address + "/lstm/predict", params=literal).json()["labels"] == "NEG", "a list in a URL"


def see_that_pictures_are_unpickled(address: str, **more: str) -> None:
    by_post = saliency_by_post(address, PICTURE, **more)
    assert (by_post.shape, by_post.dtype) == ((77, 33), np.uint8)
    assert by_post.min() < 64 and by_post.max() > 192
    np.testing.assert_array_equal(saliency_by_get(address, PICTURE, **more), by_post)


@needs_nginx
def test_with_the_default_settings_a_picture_is_pickled_where_that_is_asked_for(stack: RunningStack) -> None:
    see_that_texts_are_answered(stack.url)
    see_that_pictures_are_unpickled(stack.url, encoding="pickle")
    assert sentiment_by_get(stack.url, " ") is None, "an error has a JSON body, whose status is not 0"
    assert saliency_by_post(stack.url, b"no picture", encoding="pickle") is None


@needs_nginx
def test_with_the_setting_those_clients_work_unchanged(front: Front) -> None:
    for address in (front.url, front.worker_url):
        see_that_texts_are_answered(address)
        see_that_pictures_are_unpickled(address)
        assert sentiment_by_get(address, " ") is None
        assert sentiment_by_post(address, []) is None
        assert saliency_by_post(address, b"no picture") is None
        assert saliency_by_get(address, b"no picture") is None
    asked = fetch(f"{front.url}/cv_sod/predict?encoding=png", PICTURE, Content_Type="image/png").json
    assert asked["encoding"] == "png" and base64.b64decode(asked["img_out"]).startswith(b"\x89PNG")
    bare = fetch(f"{front.url}/cv_sod/predict", PICTURE, Content_Type="image/png", Accept="image/png")
    assert bare.body.startswith(b"\x89PNG")


@needs_nginx
def test_paths_of_old_are_kept_as_the_page_says(front: Front) -> None:
    line = base64.b64encode("非常讨厌".encode()).decode()
    assert requests.get(front.url + "/sentiment", params={"line": line}).json()["labels"] == "NEG"
    assert requests.post(front.url + "/sentiment", json={"words": ["非常", "讨厌"]}).json()["labels"] == "NEG"
    assert requests.get(front.url + "/sentiment?line=***").json()["status"] == -1


MISTAKES: list[tuple[str, str, Any, str, int]] = [
    ("wrong base64", "/lstm/predict?line=***", None, "GET", 400),
    ("JSON that is cut off", "/predict", b'{"line": "', "POST", 400),
    ("a field that is missing", "/lstm/versions/1/predict", b"{}", "POST", 400),
    ("no such model", "/nosuch/predict?line=YQ", None, "GET", 404),
    ("no such version", "/lstm/predict?line=5aW9&version=99", None, "GET", 404),
    ("another method", "/lstm/predict", b"{}", "PUT", 405),
    ("a text that is too long", "/lstm/predict", {"line": "好" * 10_001}, "POST", 413),
    ("a body that is too large", "/lstm/predict", b" " * (2 * 2**20 + 1), "POST", 413),
    ("a line that is too long", f"/lstm/predict?line={'A' * (600 * 1024)}", None, "GET", 414),
]


@needs_nginx
@pytest.mark.parametrize(
    ("path", "body", "method", "code"), [row[1:] for row in MISTAKES], ids=[r[0] for r in MISTAKES]
)
def test_errors_of_predictions(front: Front, path: str, body: Any, method: str, code: int) -> None:
    """Also Nginx's own, for what does not reach a worker."""
    for address in (front.url, front.worker_url):
        got = fetch(address + path, body, method, X_Request_ID="one-1")
        assert (got.status, got.headers["Content-Type"]) == (200, "application/json"), got.body
        assert (got.json["status"], got.json["code"]) == (-1, code)
        assert got.json["message"] and got.json["request_id"]


@needs_nginx
def test_errors_of_what_is_no_request_that_a_view_could_answer(front: Front) -> None:
    for address in (front.url, front.worker_url):
        got = fetch(f"{address}/lstm/predict?line=YQ", X_Large="a" * (600 * 1024))
        assert (got.status, got.json["status"], got.json["code"]) == (200, -1, 431)
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"GET /lstm/predict?line=YQ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (json.loads(body)["status"], json.loads(body)["code"]) == (-1, 400)


@needs_nginx
def test_other_routes_keep_their_statuses(front: Front) -> None:
    for address in (front.url, front.worker_url):
        assert fetch(f"{address}/healthz").json == {"status": 0}
        assert fetch(f"{address}/nosuch").status == 404
        unknown = fetch(f"{address}/v1/models/nosuch:predict", {"instances": [1]})
        assert (unknown.status, list(unknown.json)) == (404, ["error"])
        too_long = fetch(f"{address}/v1/models/{'A' * (600 * 1024)}")
        assert (too_long.status, list(too_long.json)) == (414, ["error"])


@needs_nginx
def test_the_log_has_the_status_that_tells_errors_apart(front: Front) -> None:
    fetch(f"{front.worker_url}/lstm/predict?line=***", X_Request_ID="mistake-1")
    front.worker.wait_until(lambda: '"mistake-1"' in front.worker.output, 10)
    line = next(line for line in front.worker.output.splitlines() if '"mistake-1"' in line)
    assert '"status":400' in line and '"error":"line: not base64"' in line


@needs_nginx
def test_where_no_worker_answers_load_balancers_see_it_and_clients_too(tmp_path: Path) -> None:
    """The model server is away, too."""
    with Front(tmp_path, f"127.0.0.1:{free_port()}", WSGIAPP_HTTP_COMPATIBILITY="flask") as front:
        away = fetch(f"{front.url}/lstm/predict?line=5aW9")
        assert (away.status, away.json["status"], away.json["code"]) == (200, -1, 503)
        assert away.headers["Retry-After"] == "1"
        ready = fetch(f"{front.url}/readyz")
        assert (ready.status, ready.json["status"]) == (503, 503)
        front.worker.send(signal.SIGKILL)
        front.worker.wait()
        gone = fetch(f"{front.url}/lstm/predict?line=5aW9")
        assert (gone.status, gone.headers["Content-Type"]) == (502, "application/json")
        assert (gone.json["status"], gone.json["code"], gone.headers["Retry-After"]) == (-1, 502, "1")
        assert sentiment_by_get(front.url, "好") is None
        assert fetch(f"{front.url}/healthz").json["status"] == 502


def test_what_is_converted() -> None:
    headers = {"Allow": "GET"}
    error = failure_response(405, "not allowed", "/lstm/predict", "id-1")
    error.headers.extend(headers.items())
    converted = as_flask(error, "/lstm/predict")
    assert converted.body == b'{"status":-1,"code":405,"message":"not allowed","request_id":"id-1"}\n'
    assert dict(converted.headers) == {
        "Content-Type": "application/json",
        "Content-Length": str(len(converted.body)),
        "Allow": "GET",
    }
    for path in ("/lstm", "/", "/predict/x", "/v1/predict", "/readyz"):
        assert as_flask(error, path) is error
    success = answer({"status": 0})
    assert as_flask(success, "/predict") is success
