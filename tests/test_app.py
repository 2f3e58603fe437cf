"""The application, called as WSGI servers call it, over a model server that is a few lines of code."""

import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import numpy as np
import pytest
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from support.http_client import multipart
from support.images import image_file, photograph
from support.lexicon import give_lexicon
from support.on_this_machine import OnThisMachine
from wsgiapp.app import Application, create_app, create_planes
from wsgiapp.backend.channel import CallError, Code
from wsgiapp.backend.interface import Target
from wsgiapp.errors import DeadlineExceeded, InternalError, RequestError, Unavailable
from wsgiapp.settings.loading import load_settings
from wsgiapp.tfserving.messages import ModelServerConfig, ModelVersionStatus
from wsgiapp.web.access_log import log_access
from wsgiapp.web.problems import STATUS_BY_ERROR
from wsgiapp.web.response import INSTANCE_HEADER, TITLES

TOML = """
[models.lstm]
pipeline = "segmented_text"
[models.cv_sod]
pipeline = "saliency"
label = "canary"
batching = false
[limits]
body_bytes = 20000
inflight = 2
"""


LABELS = {"stable": 4, "canary": 5}
LSTM = {"name": "lstm", "version": 1}


class CountingModels:
    """A model server: it labels a text by its number of words, and an image by its brightness."""

    def __init__(self) -> None:
        self.state = ModelVersionStatus.AVAILABLE
        self.error: Exception | None = None
        self.targets: list[Target] = []

    def predict(
        self, target: Target, inputs: Mapping[str, np.ndarray], deadline: float
    ) -> tuple[dict[str, np.ndarray], int]:
        self.targets.append(target)
        if self.error:
            raise self.error
        if target.model == "lstm":
            return {"classes_id": inputs["nwords"].astype(np.int64)}, target.version or LABELS.get(target.label, 1)
        return {"img_out": inputs["img_in"].mean(axis=-1, keepdims=True)}, 3

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        if self.error:
            raise self.error
        return [ModelVersionStatus(version=3, state=self.state)]

    def config(self, deadline: float) -> ModelServerConfig:
        config = ModelServerConfig()
        config.model_config_list.config.add(name="lstm")
        return config

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Site:
    """An application with its model server, and a client of it."""

    def __init__(self, folder: Path, toml: str = TOML) -> None:
        (folder / "wsgiapp.toml").write_text(toml)
        self.settings = load_settings({"WSGIAPP_CONF": str(folder), "WSGIAPP_HOME": str(folder)})
        self.backend = CountingModels()
        give_lexicon(self.settings.home)
        self.app = Application(
            self.settings,
            create_planes(self.settings, self.backend),
        )
        self.client = OnThisMachine(self.app)


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    site.app.planes.data.warm_up()
    return site


@pytest.fixture
def site(module_site: Site) -> Site:
    module_site.backend.__init__()  # type: ignore[misc]
    return module_site


def test_text(site: Site) -> None:
    answer = site.client.post("/lstm/predict", json={"words": ["非常", "讨厌"], "nwords": 2})
    assert (answer.status_code, answer.json) == (200, {"status": 0, "classes_id": 2, "model": LSTM})
    answer = site.client.post("/predict", json={"lines": ["好", "非常 讨厌"]})
    assert answer.json == {"status": 0, "results": [{"classes_id": 1}, {"classes_id": 2}], "model": LSTM}
    assert {target.model for target in site.backend.targets} == {"lstm"}


def test_json_goes_by_many_names(site: Site) -> None:
    body = json.dumps({"line": "好"})
    for content_type in (
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/x-foo+json",
    ):
        assert site.client.post("/predict", data=body, content_type=content_type).status_code == 200, content_type


def test_a_form_is_read_like_a_url(site: Site) -> None:
    answer = site.client.post("/predict", data={"words": "['a', 'b']", "nwords": "2"})
    assert answer.json == {"status": 0, "classes_id": 2, "model": LSTM}


def test_raw_bytes_that_are_not_utf_8(site: Site) -> None:
    """`line=我` as a client in GBK sends it, neither base64 nor percent-encoded; werkzeug's own client cannot."""

    def ask(query: bytes, method: str = "GET", body: bytes = b"", kind: str = "") -> tuple[int, dict[str, Any]]:
        environ = EnvironBuilder("/predict", method=method, data=body, content_type=kind).get_environ()
        content, status, _ = run_wsgi_app(site.app, {**environ, "QUERY_STRING": query.decode("latin-1")})
        return int(status.split()[0]), json.loads(b"".join(content))

    for query in (b"line=\xce\xd2", b"line=%CE%D2", b"words=['\xce\xd2']", b"label=\xce\xd2&line=YQ"):
        status, problem = ask(query)
        assert (status, problem["field"]) == (400, query.partition(b"=")[0].decode())
        assert "not UTF-8 (a byte is 0xCE)" in problem["detail"]
    assert ask(b"line=YQ&u=\xce\xd2") == (200, {"status": 0, "classes_id": 1, "model": LSTM})
    assert ask(b"u=\xce\xd2", "POST", b'{"line": "a"}', "application/json")[0] == 200
    status, problem = ask(b"", "POST", b"line=\xce\xd2", "application/x-www-form-urlencoded")
    assert (status, problem["field"]) == (400, "line")


def test_image_forms(site: Site) -> None:
    file = image_file(photograph())
    body, content_type = multipart("img", "p.png", file, encoding="npy")
    answers = [
        site.client.post("/cv_sod/predict", data=body, content_type=content_type),
        site.client.post("/cv_sod/predict?encoding=npy", data=file, content_type="image/png"),
        site.client.post("/cv_sod/predict?encoding=npy", data=file, content_type="application/octet-stream"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.data for answer in answers}) == 1
    assert answers[0].json["shape"] == [48, 64]
    assert Target("cv_sod", "serving_default", None, "canary") in site.backend.targets


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/predict", LSTM),
        ("/predict?version=7", {"name": "lstm", "version": 7}),
        ("/lstm/predict?version=007", {"name": "lstm", "version": 7}),
        ("/lstm/versions/7/predict", {"name": "lstm", "version": 7}),
        ("/lstm/predict?label=stable", {"name": "lstm", "version": 4, "label": "stable"}),
        ("/lstm/labels/stable/predict", {"name": "lstm", "version": 4, "label": "stable"}),
    ],
)
def test_the_answer_says_which_version_it_is_from(site: Site, path: str, model: dict[str, Any]) -> None:
    assert site.client.post(path, json={"line": "好"}).json["model"] == model
    query = "&" if "?" in path else "?"
    assert site.client.get(f"{path}{query}words=['a']").json["model"] == model
    log = io.BytesIO()
    Client(log_access(site.app, log)).post(path, json={"line": "好"})
    line = json.loads(log.getvalue())
    assert {"name": line["model"], "version": line["version"]} == {key: model[key] for key in ("name", "version")}
    assert line.get("label") == model.get("label")


def test_a_bare_picture_says_so_in_its_head(site: Site) -> None:
    arguments = {"data": image_file(photograph()), "content_type": "image/png", "headers": {"Accept": "image/png"}}
    configured = site.client.post("/cv_sod/predict", **arguments)
    assert (configured.headers["X-Model-Version"], configured.headers["X-Model-Label"]) == ("3", "canary")
    asked = site.client.post("/cv_sod/versions/3/predict", **arguments)
    assert asked.headers["X-Model-Version"] == "3" and "X-Model-Label" not in asked.headers


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/predict?version=x", "version"),
        ("/predict?version=", "version"),
        ("/predict?version=-1", "version"),
        (f"/predict?version={'9' * 5000}", "version"),
        ("/predict?version=%FF", "version"),
        (f"/lstm/versions/{'9' * 5000}/predict", "version"),
        ("/predict?version=9223372036854775808", "version"),
        ("/predict?label=", "label"),
        ("/lstm/versions/1.5/predict", "version"),
        ("/predict?version=1&label=stable", "label"),
        ("/lstm/versions/1/predict?version=2", "version"),
        ("/lstm/labels/stable/predict?version=2", "version"),
    ],
)
def test_a_version_that_makes_no_sense(site: Site, path: str, field: str) -> None:
    answer = site.client.post(path, json={"line": "好"})
    assert (answer.status_code, json.loads(answer.data)["field"]) == (400, field)


SPLIT = """
[models.lstm]
pipeline = "segmented_text"
split = { stable = 80, canary = 20 }
split_key = "X-User"
"""


def test_clients_are_split_and_stay(tmp_path: Path) -> None:
    site = Site(tmp_path, SPLIT)

    def label(address: str = "10.0.0.1", **headers: str) -> str:
        environ = {"REMOTE_ADDR": address}
        answer = site.client.post("/predict", json={"words": ["a"]}, headers=headers, environ_base=environ).json
        assert answer["model"]["version"] == LABELS[answer["model"]["label"]]
        return str(answer["model"]["label"])

    by_header = [label(**{"X-User": f"user-{number}"}) for number in range(200)]
    assert 20 <= by_header.count("canary") <= 60
    assert by_header == [label("10.0.0.2", **{"X-User": f"user-{number}"}) for number in range(200)]
    by_address = [label(f"10.0.0.{number}") for number in range(200)]
    assert 20 <= by_address.count("canary") <= 60
    assert by_address == [label("", **{"X-Forwarded-For": f"6.6.6.6, 10.0.0.{n}"}) for n in range(200)]
    asked = site.client.post("/predict?version=9", json={"words": ["a"]}).json["model"]
    assert asked == {"name": "lstm", "version": 9}


def test_a_split_is_ready_when_all_its_labels_are(tmp_path: Path) -> None:
    site = Site(tmp_path, SPLIT)
    site.app.planes.data.warm_up()
    asked = []

    def status(target: Target, deadline: float) -> list[ModelVersionStatus]:
        asked.append(target.label)
        state = ModelVersionStatus.LOADING if target.label == "canary" else ModelVersionStatus.AVAILABLE
        return [ModelVersionStatus(version=LABELS[target.label], state=state)]

    site.backend.status = status  # type: ignore[method-assign]
    assert json.loads(site.client.get("/readyz").data)["missing"] == ["lstm: no version is AVAILABLE (5 LOADING)"]
    assert asked == ["stable", "canary"]


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/png, application/json;q=0.5", "image/png"),
        ("application/json, image/png;q=0.5", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "application/json"),
    ],
)
def test_accept(site: Site, accept: str, mimetype: str) -> None:
    answer = site.client.post(
        "/cv_sod/predict", data=image_file(photograph()), content_type="image/png", headers={"Accept": accept}
    )
    assert (answer.status_code, answer.mimetype) == (200, mimetype)


@pytest.mark.parametrize(
    ("path", "arguments", "status", "detail"),
    [
        ("/predict", {}, 400, "line: missing"),
        ("/predict", {"data": '{"line": "好'}, 400, "body: not JSON"),
        ("/predict", {"data": b"\xff\xfe"}, 400, "body: not JSON"),
        ("/predict", {"json": ["好"]}, 400, "body: a JSON list where an object"),
        ("/predict", {"json": 3}, 400, "body: a JSON number where an object"),
        ("/predict", {"json": {"line": "好" * 11_000}}, 413, "body: larger than the limit"),
        ("/nosuch/predict", {"json": {"line": "好"}}, 404, "model 'nosuch' is not configured"),
        ("/nosuch", {"json": {}}, 404, "nothing is served at /nosuch"),
        ("/cv_sod/predict", {"data": b"", "content_type": "image/png"}, 400, "img: empty"),
    ],
)
def test_problems(site: Site, path: str, arguments: dict[str, Any], status: int, detail: str) -> None:
    answer = site.client.post(path, headers={"X-Request-ID": "abc-1"}, **arguments)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    body = json.loads(answer.data)
    assert body["status"] == status
    assert body["title"] == TITLES[status]
    assert body["request_id"] == "abc-1"
    assert detail in body["detail"]
    if ": " in detail and status != 404:
        assert body["field"] == detail.partition(":")[0]


def test_a_method_that_is_not_allowed(site: Site) -> None:
    answer = site.client.put("/predict", data=b"x")
    assert answer.status_code == 405
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == {"GET", "HEAD", "POST"}
    assert json.loads(answer.data)["status"] == 405


def every_subclass(kind: type) -> set[type]:
    return {kind}.union(*(every_subclass(each) for each in kind.__subclasses__()))


def test_every_error_has_a_status_and_a_title() -> None:
    assert set(STATUS_BY_ERROR) == every_subclass(RequestError) - {RequestError}
    assert set(STATUS_BY_ERROR.values()) <= set(TITLES)


def test_what_the_model_server_ends_with(site: Site) -> None:
    site.backend.error = Unavailable("away")
    answer = site.client.post("/predict", json={"line": "好"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    site.backend.error = DeadlineExceeded("late")
    assert site.client.post("/predict", json={"line": "好"}).status_code == 504
    site.backend.error = InternalError("odd")
    assert site.client.post("/predict", json={"line": "好"}).status_code == 500


def test_a_bug_tells_the_client_nothing_and_the_log_everything(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.backend.error = ZeroDivisionError("secret")
    answer = site.client.post("/predict", json={"line": "好"}, headers={"X-Request-ID": "find-me"})
    assert answer.status_code == 500
    assert b"secret" not in answer.data
    assert "find-me" in caplog.text and "ZeroDivisionError: secret" in caplog.text


def test_readiness_says_whose_it_is(site: Site) -> None:
    """By which `make up` knows that it is not another program that answers on its port."""
    instances = {site.client.get("/readyz").headers[INSTANCE_HEADER]}
    site.backend.error = Unavailable("away")
    instances.add(site.client.get("/readyz").headers[INSTANCE_HEADER])
    assert instances == {site.app.planes.instance} and instances != {""}


def test_health_and_readiness(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert site.client.get("/healthz").json == {"status": 0}
    assert site.client.get("/readyz").json == {"status": 0, "models": ["lstm", "cv_sod"]}
    site.backend.state = ModelVersionStatus.LOADING
    answer = site.client.get("/readyz")
    assert answer.status_code == 503
    assert json.loads(answer.data)["missing"] == [
        "lstm: no version is AVAILABLE (3 LOADING)",
        "cv_sod: no version is AVAILABLE (3 LOADING)",
    ]
    ended = ModelVersionStatus(version=3, state=ModelVersionStatus.END)
    ended.status.error_message = "Op type not registered 'X'"
    site.backend.status = lambda target, deadline: [ended]  # type: ignore[method-assign]
    reasons = json.loads(site.client.get("/readyz").data)["missing"]
    assert reasons[0] == "lstm: no version is AVAILABLE (3 END: Op type not registered 'X')"
    del site.backend.status
    site.backend.error = Unavailable("away")
    assert json.loads(site.client.get("/readyz").data)["missing"] == ["lstm: away", "cv_sod: away"]
    site.backend.error = ZeroDivisionError("secret")
    answer = site.client.get("/readyz")
    assert (answer.status_code, b"secret" in answer.data) == (503, False)
    assert json.loads(answer.data)["missing"] == [
        "lstm: its check failed (ZeroDivisionError); see the worker's log",
        "cv_sod: its check failed (ZeroDivisionError); see the worker's log",
    ]
    assert "the check of model lstm" in caplog.text and "ZeroDivisionError: secret" in caplog.text
    assert site.client.get("/healthz").status_code == 200


def test_the_public_learns_no_details(site: Site) -> None:
    """From another machine, or by a proxy on this one: ready or not, and nothing of metrics."""
    for where in (
        {"environ_base": {"REMOTE_ADDR": "192.0.2.1"}},
        {"headers": {"X-Forwarded-For": "192.0.2.1"}},
        {"environ_base": {"REMOTE_ADDR": ""}, "headers": {"X-Forwarded-For": "192.0.2.1"}},
    ):
        site.backend.__init__()  # type: ignore[misc]
        assert site.client.get("/readyz", **where).json == {"status": 0}
        assert site.client.get("/metrics", **where).status_code == 404
        site.backend.error = Unavailable("away")
        answer = site.client.get("/readyz", **where)
        told = json.loads(answer.data)
        assert (answer.status_code, told["detail"], "missing" in told) == (503, "not ready", False)


def test_readiness_waits_for_the_pipelines(tmp_path: Path) -> None:
    cold = Site(tmp_path)
    missing = json.loads(cold.client.get("/readyz").data)["missing"]
    assert missing == ["lstm: its pipeline is warming up", "cv_sod: its pipeline is warming up"]


TIMING = re.compile(
    r"preprocess;dur=\d+\.\d\d, queue;dur=\d+\.\d\d, "
    r'predict;dur=\d+\.\d\d;desc="batch of (\d+)", postprocess;dur=\d+\.\d\d'
)


@pytest.mark.parametrize(
    ("path", "arguments", "rows"),
    [
        ("/lstm/predict", {"json": {"line": "好"}}, 1),
        ("/lstm/predict", {"json": {"lines": ["好", "非常 讨厌", "好"]}}, 3),
        ("/cv_sod/predict", {"data": image_file(photograph()), "content_type": "image/png"}, 1),
        (
            "/cv_sod/predict",
            {"data": image_file(photograph()), "content_type": "image/png", "headers": {"Accept": "image/png"}},
            1,
        ),
    ],
    ids=["text", "texts", "image", "bare picture"],
)
def test_where_the_time_went(site: Site, path: str, arguments: dict[str, Any], rows: int) -> None:
    log = io.BytesIO()
    answer = Client(log_access(site.app, log)).post(path, **arguments)
    timing = TIMING.fullmatch(answer.headers["Server-Timing"])
    assert timing and int(timing[1]) == rows
    line = json.loads(log.getvalue())
    assert line["rows"] == rows
    spent = sum(float(each) for each in re.findall(r"dur=([\d.]+)", timing[0]))
    assert spent <= line["ms"] + 0.05, "the parts are no more than the whole"


def test_the_log_has_the_words_that_a_client_is_spared(site: Site) -> None:
    log = io.BytesIO()
    site.backend.error = Unavailable("the model server cannot be reached now")
    site.backend.error.__cause__ = CallError(Code.UNAVAILABLE, "127.0.0.1:8500: Connection refused")
    answer = Client(log_access(site.app, log)).post("/predict", json={"line": "好"})
    assert answer.status_code == 503 and "refused" not in answer.text
    error = json.loads(log.getvalue())["error"]
    assert error == "the model server cannot be reached now (127.0.0.1:8500: Connection refused)"


def test_requests_at_the_same_moment_share_a_call(tmp_path: Path) -> None:
    site = Site(tmp_path, '[models.lstm]\npipeline = "segmented_text"\n')
    site.client.post("/predict", json={"line": "好"})
    gevent.sleep(0.05)  # the version is asked whether its batched answers are its single ones
    asked = len(site.backend.targets)
    bodies = [{"words": ["a"] * count} for count in (1, 2, 3)]
    waiting = [gevent.spawn(site.client.post, "/predict", json=body) for body in bodies]
    gevent.joinall(waiting, raise_error=True)
    assert [each.value.json["classes_id"] for each in waiting] == [1, 2, 3]
    assert all('desc="batch of 3"' in each.value.headers["Server-Timing"] for each in waiting)
    assert len(site.backend.targets) == asked + 1


def test_the_gateway_s_counters(site: Site) -> None:
    site.client.post("/predict", json={"line": "好"})
    answer = site.client.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert b'wsgiapp_batch_rows_sum{model="lstm"}' in answer.data
    assert site.client.post("/metrics").status_code == 405


@pytest.mark.parametrize(("path", "served"), [("/a/counters", "/a/counters"), ("", None)])
def test_the_counters_are_where_the_settings_say(tmp_path: Path, path: str, served: str | None) -> None:
    site = Site(tmp_path, f'[http]\nmetrics_path = "{path}"\n')
    assert site.client.get("/metrics").status_code == 404
    if served:
        assert site.client.get(served).status_code == 200


def test_index(site: Site) -> None:
    index = site.client.get("/").json
    assert index["models"]["cv_sod"]["predict"] == "/cv_sod/predict"


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-1._Z", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)]
)
def test_request_ids(site: Site, sent: str, kept: bool) -> None:
    client = site.client
    first, second = (client.get("/healthz", headers={"X-Request-ID": sent}).headers["X-Request-ID"] for _ in range(2))
    assert (first == sent) == kept
    assert (first == second) == kept


def test_the_access_log_is_json(site: Site) -> None:
    stream = io.BytesIO()
    client = Client(log_access(site.app, stream))
    client.post("/lstm/predict", json={"line": "好"}, headers={"X-Request-ID": "good"})
    client.get("/lstm/predict?line=%21", headers={"X-Request-ID": "bad"})
    client.get('/"%0A中', headers={"X-Request-ID": "odd"}, environ_base={"REMOTE_ADDR": "1.2.3.4"})
    good, bad, odd = map(json.loads, stream.getvalue().splitlines())
    assert (good["request_id"], good["status"], good["model"], good["method"]) == ("good", 200, "lstm", "POST")
    assert good["bytes"] > 0 and good["ms"] > 0
    assert (bad["status"], bad["error"]) == (400, "line: not base64")
    assert (odd["path"], odd["client"], odd["status"]) == ('/"\n中', "1.2.3.4", 404)


def test_a_log_that_cannot_be_written_fails_no_request(site: Site) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "wb", buffering=0) as stream:
        assert Client(log_access(site.app, stream)).get("/healthz").status_code == 200


def test_too_many_in_flight_are_rejected_at_once(site: Site) -> None:
    answered = gevent.event.Event()
    plain = site.backend.predict

    def waiting(target: Target, inputs: Mapping[str, np.ndarray], deadline: float) -> Any:
        answered.wait(20)
        return plain(target, inputs, deadline)

    def post() -> Any:
        return Client(site.app).post("/predict", json={"line": "好"})

    site.backend.predict = waiting  # type: ignore[method-assign]
    try:
        in_flight = [gevent.spawn(post) for _ in range(2)]
        gevent.sleep(0.05)
        rejected = post()
        answered.set()
        gevent.joinall(in_flight, raise_error=True)
    finally:
        del site.backend.predict
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "1")
    assert "2 predictions are in flight" in json.loads(rejected.data)["detail"]
    assert [each.value.status_code for each in in_flight] == [200, 200]


def test_the_log_has_the_client_and_whom_its_certificate_names(tmp_path: Path) -> None:
    site, log = Site(tmp_path, '[http]\ntrusted_proxies = "10.0.0.0/8"\n'), io.BytesIO()
    app = create_app(site.settings, log)
    forged = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Client-Subject": "CN=a"}
    for peer in ("10.0.0.1", "192.0.2.1", ""):
        Client(app).get("/healthz", headers=forged, environ_base={"REMOTE_ADDR": peer})
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["client"], line.get("subject")) for line in lines] == [
        ("9.9.9.9", None),
        ("192.0.2.1", None),
        ("9.9.9.9", "CN=a"),  # by Nginx, which lets no client name one
    ]
    app.close()


def test_wiring(site: Site) -> None:
    log = io.BytesIO()
    app = create_app(site.settings, log)
    answer = Client(app).get("/healthz")
    assert answer.status_code == 200
    assert json.loads(log.getvalue())["request_id"] == answer.headers["X-Request-ID"]
    app.close()
