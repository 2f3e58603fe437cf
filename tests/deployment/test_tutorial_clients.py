"""Clients as short as tutorials of TensorFlow Serving print them, against the stack's default settings."""

# ruff: noqa: S113 - tutorials name no deadline

import base64
import os
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import flask
import grpc
import jieba
import numpy as np
import pytest
import requests
from werkzeug.serving import make_server

from support.images import photograph
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings
from wsgiapp.tfserving.messages import PredictRequest
from wsgiapp.tfserving.stubs import PredictionServiceStub
from wsgiapp.tfserving.tensors import encode_tensor

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

TEXTS = {"我很喜欢中国银行的产品": "POS", "非常讨厌": "NEG"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` goes by the environment; a proxy does not know the ports of this machine."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def make_tensor_proto(values: Any, dtype: Any = None) -> Any:
    """In the place of `tf.make_tensor_proto`, which takes all of TensorFlow."""
    return encode_tensor(np.array(values, dtype))


def text_over_grpc(address: str, words: list[str]) -> tuple[int, str, list[float]]:
    stub = PredictionServiceStub(grpc.insecure_channel(address))
    request = PredictRequest()
    request.model_spec.name = "lstm"
    request.model_spec.signature_name = "serving_default"
    request.inputs["words"].CopyFrom(make_tensor_proto([[word.encode() for word in words]], object))
    request.inputs["nwords"].CopyFrom(make_tensor_proto([len(words)], np.int32))
    outputs = stub.Predict(request, 10.0).outputs
    classes_id = outputs["classes_id"].int64_val[0]
    label = outputs["labels"].string_val[0].decode()
    return classes_id, label, list(outputs["softmax"].float_val)


def image_over_grpc(address: str, image: np.ndarray) -> np.ndarray:
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    pixels = cv2.resize(rgb, (320, 320), interpolation=cv2.INTER_NEAREST) - np.array([126.88, 120.24, 112.19])
    stub = PredictionServiceStub(grpc.insecure_channel(address))
    request = PredictRequest()
    request.model_spec.name = "cv_sod"
    request.inputs["img_in"].CopyFrom(make_tensor_proto([pixels], np.float32))
    mask = np.array(stub.Predict(request, 10.0).outputs["img_out"].float_val).reshape(320, 320)
    mask = (mask - mask.min()) / (mask.max() - mask.min()) * 255
    return cv2.resize(mask.astype(np.uint8), image.shape[1::-1])


def text_over_rest_in_rows(address: str, words: list[str]) -> tuple[int, str, list[float]]:
    body = {"signature_name": "serving_default", "instances": [{"words": words, "nwords": len(words)}]}
    r = requests.post(address + "/v1/models/lstm:predict", json=body)
    row = r.json()["predictions"][0]
    return row["classes_id"], row["labels"], row["softmax"]


def text_over_rest_in_columns(address: str, words: list[str]) -> tuple[int, str, list[float]]:
    body = {"inputs": {"words": [words], "nwords": [len(words)]}}
    r = requests.post(address + "/v1/models/lstm/versions/1:predict", json=body)
    outputs = r.json()["outputs"]
    return outputs["classes_id"][0], outputs["labels"][0], outputs["softmax"][0]


@pytest.mark.parametrize("text", TEXTS)
def test_texts(stack: RunningStack, text: str) -> None:
    words = list(jieba.cut(text))
    class_id, label, softmax = text_over_grpc(f"127.0.0.1:{stack.backend_port}", words)
    assert label == TEXTS[text] and len(softmax) == 3 and np.argmax(softmax) == class_id
    for client in (text_over_rest_in_rows, text_over_rest_in_columns):
        by_rest = client(stack.url, words)
        assert by_rest[:2] == (class_id, label)
        np.testing.assert_allclose(by_rest[2], softmax, atol=1e-6)


def test_an_image(stack: RunningStack) -> None:
    image = photograph(300, 200)
    mask = image_over_grpc(f"127.0.0.1:{stack.backend_port}", image)
    assert mask.shape == (200, 300) and mask[100, 150] > 192 and mask[5, 5] < 64, "the ball, and what is around it"


def flask_service(address: str) -> flask.Flask:
    """In front of the model server, as tutorials have it."""
    app = flask.Flask("sentiment")
    stub = PredictionServiceStub(grpc.insecure_channel(address))

    @app.route("/predict")
    def predict() -> Any:
        line = base64.urlsafe_b64decode(flask.request.args["line"]).decode()
        words = list(jieba.cut(line))
        request = PredictRequest()
        request.model_spec.name = "lstm"
        request.inputs["words"].CopyFrom(make_tensor_proto([[word.encode() for word in words]], object))
        request.inputs["nwords"].CopyFrom(make_tensor_proto([len(words)], np.int32))
        result = stub.Predict(request, 10.0)
        return flask.jsonify(
            status=0,
            classes_id=result.outputs["classes_id"].int64_val[0],
            labels=result.outputs["labels"].string_val[0].decode(),
            softmax=list(result.outputs["softmax"].float_val),
        )

    return app


@pytest.fixture
def flask_address(stack: RunningStack) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, flask_service(f"127.0.0.1:{stack.backend_port}"), threaded=True)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.mark.parametrize("text", TEXTS)
def test_a_flask_service_in_front_of_the_model_server(stack: RunningStack, flask_address: str, text: str) -> None:
    line = base64.urlsafe_b64encode(text.encode()).decode()
    r = requests.get(flask_address + "/predict", params={"line": line})
    assert r.status_code == 200, r.text
    ours = requests.get(stack.url + "/predict", params={"line": line}).json()
    assert r.json()["labels"] == TEXTS[text]
    np.testing.assert_allclose(r.json()["softmax"], ours["softmax"], atol=1e-6)
    assert {**r.json(), "softmax": 0} == {key: ours[key] for key in ("status", "classes_id", "labels")} | {"softmax": 0}
