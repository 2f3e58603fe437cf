"""TF Serving's REST API over real model servers."""

# ruff: noqa: E501 - the texts stand as they are sent

import gzip
import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.test import Client

from support.http_client import fetch, gzip_bomb
from support.lexicon import give_lexicon
from support.processes import SHARED_DATA, Process, free_port, poll, python_module
from support.stack import RunningStack
from wsgiapp.app import Application, create_app, create_planes
from wsgiapp.backend.interface import Target
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings
from wsgiapp.tfserving.messages import ClassificationResult, Input, ModelVersionStatus, RegressionResult
from wsgiapp.web.views import tfserving

HALF_PLUS_TWO = SHARED_DATA / "tfserving/half_plus_two"
MODEL = "saved_model_half_plus_two_2_versions"
LIMIT = 1_000_000


def started(folder: Path, backend: str) -> Application:
    (folder / "wsgiapp.toml").write_text(f"""
        [models.tiny]
        pipeline = "segmented_text"
        deadline_seconds = 60
        [limits]
        body_bytes = {LIMIT}
        """)
    give_lexicon(folder)
    variables = {"WSGIAPP_CONF": str(folder), "WSGIAPP_HOME": str(folder), "WSGIAPP_BACKEND_ADDRESS": backend}
    return create_app(load_settings(variables), io.BytesIO())


@pytest.fixture(scope="module")
def client(tiny_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("rest")
    (folder / "run").mkdir()
    # What the gateway reads where the model server, as TF Serving does, keeps its configuration to itself.
    (folder / "run/models.config").write_text(
        'model_config_list { config { name: "tiny" base_path: "/" model_platform: "tensorflow" '
        'version_labels { key: "stable" value: 1 } } }'
    )
    app = started(folder, tiny_server)
    yield Client(app)
    app.close()


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of the two versions of TF Serving's own test model; label `stable` is 123."""
    if not HALF_PLUS_TWO.exists():
        pytest.skip("no TF Serving test model here")
    folder = tmp_path_factory.mktemp("half_plus_two")
    port = free_port()
    (folder / "models.config").write_text(
        f"""model_config_list {{ config {{
            name: "{MODEL}" base_path: "{HALF_PLUS_TWO}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 123 }}
        }} }}"""
    )
    command = python_module(
        "wsgiapp.modelserver", f"--port={port}", "--host=127.0.0.1", f"--model_config_file={folder}/models.config"
    )
    with Process(command, folder / "log", KERAS_HOME=str(folder)) as process:
        process.wait_until(lambda: "serving gRPC" in process.output)
        app = started(folder, f"127.0.0.1:{port}")
        yield Client(app)
        app.close()


def post(client: Client, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(path, data=data, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.data)


def rejected(client: Client, path: str, body: Any, **headers: str) -> tuple[int, str]:
    status, answer = post(client, path, body, **headers)
    assert list(answer) == ["error"]
    return status, answer["error"]


def test_rows_and_columns(client: Client) -> None:
    answer = client.post("/v1/models/tiny:predict", data=b'{"instances": [[1.0], [2], [5.0]]}')
    assert answer.data == b'{\n    "predictions": [[3.5], [4.0], [5.5]\n    ]\n}'
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert post(client, "/v1/models/tiny:predict", {"inputs": {"x": [[1.0]]}}) == (200, {"outputs": [[3.5]]})
    named = {"signature_name": "serving_default", "instances": [{"x": [1]}]}
    assert post(client, "/v1/models/tiny:predict", named) == (200, {"predictions": [[3.5]]})
    assert b"NaN" in client.post("/v1/models/tiny:predict", data=b'{"inputs": [[NaN], [-Infinity]]}').data


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/models/tiny/versions/1:predict", 3.0),
        ("/v1/models/tiny/versions/0002:predict", 4.0),
        ("/v1/models/tiny/labels/stable:predict", 3.0),
        ("/V1/Models/tiny/VERSIONS/1:PREDICT", 3.0),
        ("/v1/models/%74iny/labels/%73table:Predict?trace=1", 3.0),
    ],
)
def test_versions_labels_and_spellings(client: Client, path: str, answer: float) -> None:
    assert post(client, path, {"instances": [[2.0]]}) == (200, {"predictions": [[answer]]})


def test_strings_and_several_outputs(client: Client) -> None:
    body = {"signature_name": "echo", "instances": [["中文", ""], [{"b64": "eA=="}, "y"]]}
    predictions = [{"words": ["中文", ""], "length": [6, 0]}, {"words": ["x", "y"], "length": [1, 1]}]
    assert post(client, "/v1/models/tiny:predict", body) == (200, {"predictions": predictions})
    odd = {"signature_name": "echo", "inputs": [[{"b64": "/w=="}]]}
    outputs = {"words": [[{"b64": "/w=="}]], "length": [[1]]}
    assert post(client, "/v1/models/tiny:predict", odd) == (200, {"outputs": outputs})


def test_a_scalar_input_and_an_output_without_rows(client: Client) -> None:
    body = {"signature_name": "slow", "inputs": 1}
    assert post(client, "/v1/models/tiny:predict", body) == (200, {"outputs": 1.0})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/"),
        ("GET", "/v1//models"),
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("POST", "/v1/models"),
        ("POST", "/v1/predict"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/tiny:predict"),
        ("PUT", "/v1/models/tiny:predict"),
        ("DELETE", "/v1/models/tiny"),
        ("POST", "/v1/models/tiny"),
        ("POST", "/v1/models/tiny/metadata"),
        ("POST", "/v1/models/tiny:explain"),
        ("POST", "/v1/models/tiny/version/50:regress"),
        ("POST", "/v1/models/tiny/versions/HELLO:regress"),
        ("POST", "/v1/models/tiny/versions/-1:predict"),
        ("POST", "/v1/models/tiny/versions/1/labels/stable:predict"),
        ("GET", "/v1/models/a%20b/c"),
        ("GET", "/V1/models/tiny/labels/"),
    ],
)
def test_what_is_malformed(client: Client, method: str, path: str) -> None:
    answer = client.open(f"{path}?query=1", method=method)
    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert json.loads(answer.data) == {"error": f"Malformed request: {method} {path}"}


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("tiny:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("nosuch:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("tiny:predict", b"instances = [1, 2]", 400, "JSON Parse error: Invalid value. at offset: 0"),
        ("tiny:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("tiny:predict", {"inputs": [["a"]]}, 400, 'JSON Value: "a" Type: String is not of expected type: float (input x)'),
        ("tiny:predict", {"signature_name": "x", "instances": [1]}, 400, 'Serving signature name: "x" not found in signature def'),
        ("nosuch:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nosuch)"),
        ("nosuch:predict", {}, 404, "Servable not found for request: Latest(nosuch)"),
        ("tiny/versions/7:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(tiny, 7)"),
        ("tiny/labels/x:predict", {"instances": [1]}, 400, "Unrecognized servable version label: x"),
        ("a%2Fb%3Ac%20%E4%B8%AD:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(a/b:c 中)"),
        ("tiny/versions/18446744073709551615:predict", {}, 400, "Failed to convert version: 18446744073709551615 to numeric."),
        ("tiny/versions/9223372036854775808:classify", {}, 400, "Failed to convert version: 9223372036854775808 to numeric."),
        (f"tiny/versions/{'9' * 5000}:predict", {}, 400, f"Failed to convert version: {'9' * 5000} to numeric."),
        ("%FF:predict", {}, 400, "Failed to decode model name:%FF"),
        ("tiny/labels/%FF:predict", {}, 400, "Failed to decode model version label:%FF"),
        ("tiny:classify", {"examples": []}, 400, "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
        ("tiny:regress", {}, 400, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_errors(client: Client, path: str, body: Any, status: int, error: str) -> None:
    assert rejected(client, f"/v1/models/{path}", body) == (status, error)


def test_a_body_over_the_limit(client: Client) -> None:
    status, error = rejected(client, "/v1/models/tiny:predict", b" " * (LIMIT + 1))
    assert (status, error) == (413, "body: larger than the limit")


def test_a_megabyte_of_rows_takes_no_seconds(client: Client) -> None:
    rows = np.random.default_rng(1).normal(size=(45_000, 1)).round(12)
    body = json.dumps({"instances": rows.tolist()}).encode()
    assert len(body) > 0.8 * LIMIT
    started_at = time.perf_counter()
    status, answer = post(client, "/v1/models/tiny:predict", body)
    seconds = time.perf_counter() - started_at
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], rows / 2 + 3, rtol=1e-5)
    assert seconds < 3


def test_status(client: Client) -> None:
    def version(number: int) -> dict[str, Any]:
        return {"version": str(number), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}

    for path, numbers in (("", [2, 1]), ("/versions/1", [1]), ("/labels/stable", [1])):
        answer = client.get(f"/v1/models/tiny{path}")
        assert json.loads(answer.data) == {"model_version_status": [version(number) for number in numbers]}
    assert client.get("/v1/models/tiny/versions/2").data.decode() == (
        """{
 "model_version_status": [
  {
   "version": "2",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}
"""
    )
    assert client.head("/v1/models/tiny").status_code == 200
    missing = client.get("/v1/models/nosuch")
    assert missing.status_code == 404 and "nosuch" in json.loads(missing.data)["error"]


def test_every_model_is_listed(client: Client) -> None:
    (tiny,) = json.loads(client.get("/v1/models?all=1").data)["models"]
    assert tiny["name"] == "tiny"
    assert [each["version"] for each in tiny["model_version_status"]] == ["2", "1"]
    assert tiny["version_labels"] == {"stable": "1"}


def test_metadata(client: Client) -> None:
    for path, number in (("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")):
        answer = json.loads(client.get(f"/v1/models/tiny{path}/metadata").data)
        assert answer["model_spec"] == {"name": "tiny", "signature_name": "", "version": number}
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert {"serving_default", "echo", "slow"} <= set(signatures)
        assert signatures["serving_default"]["inputs"]["x"]["tensor_shape"] == {
            "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
            "unknown_rank": False,
        }


def test_gzip(client: Client) -> None:
    body = gzip.compress(b'{"instances": [[2.0]]}')
    assert post(client, "/v1/models/tiny:predict", body, Content_Encoding="gzip")[0] == 200
    assert rejected(client, "/v1/models/tiny:predict", body[:-3], Content_Encoding="gzip") == (
        400,
        "body: the gzip stream is cut off",
    )
    status, error = rejected(client, "/v1/models/tiny:predict", body, Content_Encoding="br")
    assert (status, error) == (415, "Content-Encoding: br: only gzip is understood")


def test_the_shared_model_predicts(half_plus_two: Client) -> None:
    body = {"instances": [1.0, 2.0, 5.0]}
    for path in ("", "/versions/124", "/versions/123", "/labels/stable"):
        answer = half_plus_two.post(f"/v1/models/{MODEL}{path}:predict", json=body)
        assert answer.data == b'{\n    "predictions": [2.5, 3.0, 4.5\n    ]\n}'
    assert post(half_plus_two, f"/v1/models/{MODEL}:predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]}) == (
        200,
        {"predictions": [[2.5, 3.0], [3.5, 4.0]]},
    )
    status, error = rejected(half_plus_two, f"/v1/models/{MODEL}:predict", {"instances": ["x"]})
    assert status == 400 and "not of expected type: float" in error


def test_the_shared_model_classifies_and_regresses(half_plus_two: Client) -> None:
    for path, number in (("", 20.0), ("/versions/123", 10.0), ("/labels/stable", 1.0)):
        body = {"signature_name": "classify_x_to_y", "examples": [{"x": number}]}
        answer = half_plus_two.post(f"/v1/models/{MODEL}{path}:classify", json=body)
        assert answer.data == b'{\n    "results": [[["", %.1f]]\n    ]\n}' % (number / 2 + 2)
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 80.0}, {"x": [2.0]}]}
    answer = half_plus_two.post(f"/v1/models/{MODEL}:regress", json=body)
    assert answer.data == b'{\n    "results": [42.0, 3.0]\n}'
    body = {"signature_name": "regress_x_to_y", "context": {"x": 80.0}, "examples": [{}]}
    assert post(half_plus_two, f"/v1/models/{MODEL}:regress", body) == (200, {"results": [42.0]})
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": "80"}]}
    status, error = rejected(half_plus_two, f"/v1/models/{MODEL}:regress", body)
    assert status == 400 and "x" in error


def test_the_shared_model_s_metadata_is_what_tf_serving_answers(half_plus_two: Client) -> None:
    wanted = json.loads((SHARED_DATA / "tfserving/half_plus_two_metadata.json").read_text())
    assert json.loads(half_plus_two.get(f"/v1/models/{MODEL}/versions/123/metadata").data) == wanted


def test_a_model_server_that_is_away(tmp_path: Path) -> None:
    app = started(tmp_path, f"127.0.0.1:{free_port()}")
    client = Client(app)
    status, error = rejected(client, "/v1/models/tiny:predict", {"instances": [[1.0]]})
    assert (status, error) == (503, "the model server cannot be reached now")
    assert client.get("/v1/models/tiny").headers["Retry-After"] == "1"
    app.close()


def test_versions_come_and_go_under_requests(tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    base, port = tmp_path / "tiny", free_port()
    shutil.copytree(tiny_versions[1], base / "1")
    shutil.copytree(tiny_versions[2], tmp_path / "2")
    command = python_module(
        "wsgiapp.modelserver",
        f"--port={port}",
        "--model_name=tiny",
        f"--model_base_path={base}",
        "--file_system_poll_wait_seconds=1",
    )
    answered: list[tuple[int, Any]] = []
    done = threading.Event()

    def ask(app: Application) -> None:
        client = Client(app)
        while not done.is_set():
            answered.append(post(client, "/v1/models/tiny:predict", {"instances": [[2.0]]}))

    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path)) as server:
        server.wait_until(lambda: "serving gRPC" in server.output)
        app = started(tmp_path, f"127.0.0.1:{port}")
        threads = [threading.Thread(target=ask, args=(app,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for answer, change in (
                (3.0, lambda: (tmp_path / "2").rename(base / "2")),
                (4.0, lambda: (base / "2").rename(tmp_path / "2")),
                (3.0, lambda: None),
            ):
                poll(lambda wanted=answer: answered and answered[-1][1] == {"predictions": [[wanted]]}, 30)
                change()
        finally:
            done.set()
            for thread in threads:
                thread.join()
            app.close()
    assert {json.dumps(answer) for _, answer in answered} == {'{"predictions": [[3.0]]}', '{"predictions": [[4.0]]}'}
    assert {status for status, _ in answered} == {200}


class Scores:
    """A model server that scores each example by its number of features, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Target, float]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def _ask(self, call: str, target: Target, deadline: float) -> None:
        self.asked.append((call, target, deadline - time.monotonic()))
        self.meanwhile()

    def classify(self, target: Target, examples: Input, deadline: float) -> tuple[ClassificationResult, int]:
        self._ask("classify", target, deadline)
        result = ClassificationResult()
        for example in examples.example_list.examples:
            result.classifications.add().classes.add(label="n", score=len(example.features.feature))
        return result, 3

    def regress(self, target: Target, examples: Input, deadline: float) -> tuple[RegressionResult, int]:
        self._ask("regress", target, deadline)
        context = examples.example_list_with_context.context.features.feature["bias"].float_list.value
        result = RegressionResult()
        for example in examples.example_list_with_context.examples:
            result.regressions.add(value=len(example.features.feature) + sum(context))
        return result, 3

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        self._ask("status", target, deadline)
        status = ModelVersionStatus(version=7, state=ModelVersionStatus.END)
        status.status.error_code, status.status.error_message = 3, "no such file"
        return [status, ModelVersionStatus(version=6, state=ModelVersionStatus.AVAILABLE)]

    def close(self) -> None:
        pass


@pytest.fixture
def scores(tmp_path: Path) -> tuple[Scores, Client]:
    (tmp_path / "wsgiapp.toml").write_text("""
        [models.quick]
        pipeline = "segmented_text"
        deadline_seconds = 2
        [models.slow]
        pipeline = "segmented_text"
        deadline_seconds = 7
        [backend]
        deadline_seconds = 5
        [limits]
        inflight = 2
        """)
    configured = load_settings({"WSGIAPP_CONF": str(tmp_path), "WSGIAPP_HOME": str(tmp_path)})
    backend: Any = Scores()
    planes = create_planes(configured, backend)
    return backend, Client(Application(configured, planes))


def test_classify_and_regress(scores: tuple[Scores, Client]) -> None:
    backend, client = scores
    body = {"signature_name": "s", "examples": [{"a": 1, "b": 2.5}, {"c": ["d"]}]}
    answer = client.post("/v1/models/quick/versions/3:classify", json=body)
    assert answer.data == b'{\n    "results": [[["n", 2.0]], [["n", 1.0]]\n    ]\n}'
    answer = client.post("/v1/models/any/labels/l:Regress", json={"context": {"bias": 0.5}, "examples": [{"a": 1}, {}]})
    assert answer.data == b'{\n    "results": [1.5, 0.5]\n}'
    assert [(call, target) for call, target, _ in backend.asked] == [
        ("classify", Target("quick", "s", 3, "")),
        ("regress", Target("any", "", None, "l")),
    ]


def test_a_model_has_its_own_deadline_or_that_of_the_back_end(scores: tuple[Scores, Client]) -> None:
    backend, client = scores
    for name in ("quick", "slow", "unknown"):
        client.get(f"/v1/models/{name}")
    assert [round(seconds) for _, _, seconds in backend.asked] == [2, 7, 5]


def test_a_client_s_own_deadline(scores: tuple[Scores, Client]) -> None:
    backend, client = scores
    body = {"examples": [{"a": 1}]}
    for seconds in ("0.5", "1.25", "3"):
        client.post("/v1/models/quick:classify", json=body, headers={"X-Request-Timeout": seconds})
    assert [round(seconds, 1) for _, _, seconds in backend.asked] == [0.5, 1.2, 2.0], "the model's, at most"
    wrong = client.post("/v1/models/quick:classify", json=body, headers={"X-Request-Timeout": "soon"})
    assert wrong.status_code == 400 and wrong.json and "X-Request-Timeout: not a number" in wrong.json["error"]
    late = client.post("/v1/models/quick:classify", json=body, headers={"X-Request-Start": f"{time.time() - 3:.3f}"})
    assert late.status_code == 504 and len(backend.asked) == 3, "it is not sent"


def test_a_version_that_did_not_load_says_why(scores: tuple[Scores, Client]) -> None:
    answer = scores[1].get("/v1/models/quick")
    assert json.loads(answer.data)["model_version_status"] == [
        {"version": "7", "state": "END", "status": {"error_code": "INVALID_ARGUMENT", "error_message": "no such file"}},
        {"version": "6", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
    ]


def test_predictions_are_limited_together_and_leave_status_calls_their_places(scores: tuple[Scores, Client]) -> None:
    """The model server asks the application itself while a call is in flight."""
    backend, client = scores
    answers: list[Any] = []
    statuses: list[int] = []

    def classify() -> Any:
        return client.post("/v1/models/quick:classify", json={"examples": [{"a": 1}]})

    def meanwhile() -> None:
        answers.append(classify())
        backend.meanwhile = lambda: None
        statuses.append(client.get("/v1/models/quick").status_code)

    backend.meanwhile = meanwhile
    assert classify().status_code == 200
    innermost = answers[0]
    assert (innermost.status_code, innermost.headers["Retry-After"]) == (503, "1")
    assert json.loads(innermost.data) == {"error": "2 predictions are in flight; try again in a moment"}
    assert [answer.status_code for answer in answers[1:]] == [200]
    assert statuses == [200, 200]
    assert classify().status_code == 200


def test_status_calls_have_a_limit_of_their_own(scores: tuple[Scores, Client]) -> None:
    backend, client = scores
    answers: list[Any] = []
    backend.meanwhile = lambda: answers.append(client.get("/v1/models/quick"))
    assert client.get("/v1/models/quick").status_code == 200
    assert answers[0].status_code == 503 and "64 status calls are in flight" in answers[0].text
    assert [answer.status_code for answer in answers[1:]] == [200] * 63


needs_nginx = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")


@needs_nginx
def test_through_nginx(stack: RunningStack) -> None:
    url = f"{stack.url}/v1/models"
    body = {"instances": [{"words": ["非常", "讨厌"], "nwords": 2}]}
    (prediction,) = fetch(f"{url}/lstm/versions/1:predict?a=b", body).json["predictions"]
    assert prediction["labels"] == "NEG"
    assert {model["name"] for model in fetch(url).json["models"]} == {"lstm", "cv_sod"}
    encoded = fetch(f"{url}/a%2Fb%3Ac:predict", {"instances": [1]})
    assert (encoded.status, encoded.json) == (404, {"error": "Servable not found for request: Latest(a/b:c)"})
    malformed = fetch(f"{url}/a%2Fb:explain", b"")
    assert (malformed.status, malformed.json) == (400, {"error": "Malformed request: POST /v1/models/a%2Fb:explain"})


@needs_nginx
def test_nginx_s_own_errors(stack: RunningStack) -> None:
    for path, kind, key in (
        ("/v1/models/lstm:predict", "application/json", "error"),
        ("/predict", "application/problem+json", "detail"),
    ):
        answer = fetch(f"{stack.url}{path}", b" " * (3 * 2**20))
        assert (answer.status, answer.headers["Content-Type"]) == (413, kind)
        assert answer.json[key] == "body: larger than the limit of 2097152 bytes"
        too_long = fetch(f"{stack.url}{path}?{'a' * 600_000}")
        assert (too_long.status, too_long.headers["Content-Type"]) == (414, kind)
        assert key in too_long.json


@needs_nginx
def test_a_gzip_bomb_through_nginx(stack: RunningStack) -> None:
    bomb = gzip_bomb(1024)
    for path in ("/v1/models/lstm:predict", "/lstm/predict"):
        answer = fetch(f"{stack.url}{path}", bomb, Content_Encoding="gzip")
        assert answer.status == 413 and b"inflates to more than the limit" in answer.body
        assert answer.seconds < 3
    assert fetch(f"{stack.url}/readyz").status == 200


def test_what_a_request_may_ask_of_the_model_server(client: Client) -> None:
    """11.7 KB of gzip held strings for which a model took 5.9 GB."""
    words = b'{"signature_name": "echo", "inputs": [[' + b'"a",' * 70_000 + b'"a"]]}'
    for body, headers in ((words, {}), (gzip.compress(words), {"Content_Encoding": "gzip"})):
        status, error = rejected(client, "/v1/models/tiny:predict", body, **headers)
        assert status == 413
        assert (
            error == "body: 70,001 strings for the model; the limit of a request is 65,536; send fewer rows at a time"
        )


def test_a_long_document_is_read_again_where_the_signature_changed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    read = tfserving.document.parse

    def parse(body: bytes, *more: Any) -> dict[str, Any]:
        parsed.append(len(body))
        return read(body, *more)

    monkeypatch.setattr(tfserving.document, "parse", parse)
    wrong = b'{"instances": [' + b"[1.25]," * 30_000 + b"[[2]]]}"
    status, error = rejected(client, "/v1/models/tiny:predict", wrong)
    assert ((status, len(parsed)) == (400, 1) and "item" in error) or "element" in error
    parsed.clear()
    signatures = list(client.application.planes.data._passthrough._known.items())
    for target, known in signatures:
        stale = {name: {"z": 1} for name in known.signatures}
        client.application.planes.data._passthrough._known[target] = replace(known, signatures=stale)
    status, answer = post(client, "/v1/models/tiny:predict", wrong.replace(b"[[2]]", b"[2]"))
    assert status == 200 and len(answer["predictions"]) == 30_001
    assert len(parsed) == 2
