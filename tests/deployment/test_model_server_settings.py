"""The settings of the stack's model server: its own REST port, a configuration that is watched, `tensor_content`."""

from collections.abc import Iterator

import numpy as np
import pytest
import requests

from deployment.test_tutorial_clients import no_proxy as no_proxy
from deployment.test_tutorial_clients import text_over_rest_in_columns, text_over_rest_in_rows
from support.processes import free_port, poll
from support.serving_client import connected, model_spec, predict_request
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

WORDS = ["非常", "讨厌"]
ONE_MODEL = """model_config_list { config {
    name: "lstm" base_path: "@{models}/lstm" model_platform: "tensorflow"
    version_labels { key: "stable" value: 1 }
} }"""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    stack = RunningStack(tmp_path_factory.mktemp("changed"))
    stack.variables |= {
        "WSGIAPP_APP_WORKERS": "1",
        "WSGIAPP_BACKEND_CONFIG_POLL_SECONDS": "0.2",
        "WSGIAPP_BACKEND_REST_PORT": str(free_port()),
        "WSGIAPP_BACKEND_SERIALIZE_AS_TENSOR_CONTENT": "true",
    }
    up = stack.wsgiapp("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr + stack.logs()
        yield stack
    finally:
        stack.wsgiapp("down")


def test_rest_on_a_port_of_its_own(changed: RunningStack) -> None:
    address = f"http://127.0.0.1:{changed.variables['WSGIAPP_BACKEND_REST_PORT']}"
    poll(lambda: answers(address))  # its worker starts after gRPC is there
    for client in (text_over_rest_in_rows, text_over_rest_in_columns):
        class_id, label, softmax = client(address, WORDS)
        assert label == "NEG" and np.argmax(softmax) == class_id


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/v1/models/lstm", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_numbers_stand_in_tensor_content(changed: RunningStack) -> None:
    words = np.array([[word.encode() for word in WORDS]], object)
    with connected(f"127.0.0.1:{changed.backend_port}") as client:
        inputs = {"words": words, "nwords": np.array([2], np.int32)}
        outputs = client.predict(predict_request(model_spec("lstm"), inputs)).outputs
    assert np.frombuffer(outputs["classes_id"].tensor_content, np.int64).tolist() == [0]
    assert not outputs["classes_id"].int64_val and outputs["labels"].string_val == [b"NEG"]


def test_a_changed_configuration_is_applied_by_itself(changed: RunningStack) -> None:
    file, rendered = changed.home / "conf/models.config", changed.home / "run/models.config"
    file.write_text(ONE_MODEL)
    url = f"{changed.url}/v1/models"
    poll(lambda: [each["name"] for each in requests.get(url, timeout=5).json()["models"]] == ["lstm"])
    with connected(f"127.0.0.1:{changed.backend_port}") as client:
        status = client.status(model_spec("lstm", label="stable"))
        assert [each.version for each in status.model_version_status] == [1]
    poll(lambda: str(changed.home / "models/lstm") in rendered.read_text() and "cv_sod" not in rendered.read_text())
    assert "is applied" in (changed.home / "log/models.log").read_text()
    assert "models" in changed.wsgiapp("status").stdout
