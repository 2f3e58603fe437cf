"""API keys, as clients meet them."""

import io
import json
import re
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.test import Client, TestResponse

from support.access import Keyring, looks_again
from support.lexicon import give_lexicon
from support.on_this_machine import OnThisMachine
from wsgiapp.access.counts import Counts
from wsgiapp.access.key_guard import KeyGuard
from wsgiapp.app import Application, create_planes
from wsgiapp.backend.interface import Target
from wsgiapp.settings.loading import load_settings
from wsgiapp.tfserving.messages import ModelServerConfig, ModelVersionStatus
from wsgiapp.web.access_log import log_access

TOML = """
[models.lstm]
pipeline = "segmented_text"
batching = false
[models.other]
pipeline = "segmented_text"
batching = false
[management]
token = "managers"
[http]
cors_origins = "https://shop.example"
"""
KEYS = "[access]\nkeys = true\n"
ONE = {"json": {"line": "好"}}


class Words:
    """A model server that counts words."""

    def predict(
        self, target: Target, inputs: Mapping[str, np.ndarray], deadline: float
    ) -> tuple[dict[str, np.ndarray], int]:
        return {"classes_id": inputs["nwords"].astype(np.int64)}, 1

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        return [ModelVersionStatus(version=1, state=ModelVersionStatus.AVAILABLE)]

    def config(self, deadline: float) -> ModelServerConfig:
        config = ModelServerConfig()
        for name in ("lstm", "other"):
            config.model_config_list.config.add(name=name)
        return config


class Site:
    def __init__(self, folder: Path, toml: str = TOML + KEYS) -> None:
        (folder / "wsgiapp.toml").write_text(toml)
        self.settings = load_settings({"WSGIAPP_CONF": str(folder), "WSGIAPP_HOME": str(folder)})
        give_lexicon(folder)
        self.keyring = Keyring(self.settings.credentials_file)
        planes = create_planes(self.settings, Words())  # type: ignore[arg-type]
        planes.data.warm_up()
        self.guard: Any = planes.keys
        self.log = io.BytesIO()
        self.app = Application(self.settings, planes)
        self.client = OnThisMachine(log_access(self.app, self.log))

    def add_key(self, name: str, **fields: Any) -> str:
        text = self.keyring.add_key(name, **fields)
        looks_again(self.guard._authenticator)
        return text

    def post(self, path: str, key: str = "", **arguments: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.client.post(path, headers=headers, **(arguments or ONE))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("site"))
    made.add_key("shop")
    return made


def test_without_the_setting_nobody_needs_a_key(tmp_path: Path) -> None:
    site = Site(tmp_path, TOML)
    assert site.guard is None
    assert site.post("/lstm/predict").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/lstm/predict?line=5aW9"),
        ("POST", "/predict"),
        ("POST", "/lstm/versions/1/predict"),
        ("POST", "/lstm/labels/stable/predict"),
        ("POST", "/nosuch/predict"),
    ],
)
def test_who_has_no_key_is_told_where_to_put_one(site: Site, method: str, path: str) -> None:
    answer = site.client.open(path, method=method)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == 401
    assert "Authorization: Bearer wsk_" in answer.json["detail"] and "X-API-Key" in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/lstm:predict"),
        ("GET", "/v1/models/lstm"),
        ("GET", "/v1/models/lstm/metadata"),
        ("GET", "/V1/models"),
        ("GET", "/v1/nosuch"),
    ],
)
def test_below_v1_it_is_said_in_tf_serving_s_form(site: Site, method: str, path: str) -> None:
    answer = site.client.open(path, method=method)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert list(answer.json) == ["error"] and "X-API-Key" in answer.json["error"]


def test_clients_of_flask_services_are_told_in_the_body(tmp_path: Path) -> None:
    site = Site(tmp_path, TOML.replace("[http]\n", '[http]\ncompatibility = "flask"\n') + KEYS)
    answer = site.post("/lstm/predict")
    assert (answer.status_code, answer.json["status"], answer.json["code"]) == (200, -1, 401)
    key = site.add_key("shop", rate=0.01, models=["lstm"])
    assert site.post("/other/predict", key).json["code"] == 403
    assert site.post("/lstm/predict", key).json["status"] == 0
    assert site.post("/lstm/predict", key).json["code"] == 429


def test_what_is_open_to_everybody(site: Site) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert site.client.get(path).status_code == 200, path
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    for path in ("/lstm/predict", "/v1/models/lstm:predict"):
        answer = site.client.options(path, headers={**preflight, "Access-Control-Request-Headers": "X-API-Key"})
        assert answer.status_code == 200
        assert "X-API-Key" in answer.headers["Access-Control-Allow-Headers"]
    assert site.client.options("/v1/models/lstm:predict", headers={"Origin": "https://a.example"}).status_code == 200


def test_a_page_of_another_origin_can_read_why(site: Site) -> None:
    answer = site.client.get("/lstm/predict", headers={"Origin": "https://shop.example"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "https://shop.example")


def test_headers(site: Site) -> None:
    key = site.keyring.texts["shop"]
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer   {key} "},
        {"X-API-Key": key},
        {"X-API-Key": key, "Authorization": "Basic dTpw"},  # for something in front
        {"X-API-Key": "wsk_other", "Authorization": f"Bearer {key}"},
    ):
        assert site.client.post("/lstm/predict", headers=headers, **ONE).status_code == 200, headers
    for headers, header in (
        ({"Authorization": key}, "missing"),
        ({"Authorization": f"Basic {key}"}, "missing"),
        ({"Authorization": "Bearer wsk_wrong"}, "Authorization: not a valid API key"),
        ({"X-API-Key": key[:-1]}, "X-API-Key: not a valid API key"),
        ({"X-API-Key": "\xe9\x80"}, "X-API-Key: not a valid API key"),
    ):
        answer = site.client.post("/lstm/predict", headers=headers, **ONE)
        assert answer.status_code == 401 and header in answer.json["detail"]


def test_a_key_is_no_token_and_a_token_no_key(site: Site) -> None:
    token = site.keyring.add_token("ci", "read")
    looks_again(site.guard._authenticator)
    assert site.post("/lstm/predict", token).status_code == 401
    assert site.client.get("/v1/config", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    key = {"Authorization": f"Bearer {site.keyring.texts['shop']}"}
    assert site.client.get("/v1/config", headers=key).status_code == 401


def test_a_key_sees_the_models_that_it_may_use(site: Site) -> None:
    key = site.add_key("narrow", models=["lstm"])
    headers = {"X-API-Key": key}
    assert site.post("/lstm/predict", key).status_code == 200
    answer = site.post("/other/predict", key)
    assert answer.status_code == 403
    assert answer.json["detail"].startswith("the API key 'narrow' may not use the model 'other'")
    assert site.post("/nosuch/predict", key).status_code == 403, "it does not learn which there are"
    assert site.client.get("/v1/models/lstm", headers=headers).status_code == 200
    assert site.client.get("/v1/models/other", headers=headers).json["error"].startswith("the API key 'narrow'")
    assert site.client.get("/v1/models/%6Fther", headers=headers).status_code == 403
    assert site.client.post("/v1/models/other:predict", headers=headers, json={"instances": [1]}).status_code == 403
    assert [each["name"] for each in site.client.get("/v1/models", headers=headers).json["models"]] == ["lstm"]
    assert list(site.client.get("/", headers=headers).json["models"]) == ["lstm"]


def test_above_its_rate(site: Site) -> None:
    key = site.add_key("slow", rate=0.05, burst=2)
    assert [site.post("/lstm/predict", key).status_code for _ in range(3)] == [200, 200, 429]
    answer = site.client.get("/v1/models/lstm", headers={"X-API-Key": key})
    assert answer.status_code == 429
    assert answer.json["error"] == "the API key 'slow' may send 0.05 requests a second, 2 at once"
    assert 10 <= int(answer.headers["Retry-After"]) <= 20


def test_above_its_quota_also_after_a_restart(site: Site) -> None:
    key = site.add_key("little", daily_quota=2)
    assert [site.post("/lstm/predict", key).status_code for _ in range(3)] == [200, 200, 429]
    restarted = KeyGuard(site.keyring.authenticator(), Counts(site.settings.counts_file, 1))
    other = Application(site.settings, site.app.planes._replace(keys=restarted))
    answer = Client(other).post("/lstm/predict", headers={"X-API-Key": key}, **ONE)
    assert answer.status_code == 429
    assert "its 2 requests of today" in answer.json["detail"]
    assert 0 < int(answer.headers["Retry-After"]) <= 86400


def test_a_key_s_priority_is_where_a_client_s_is(site: Site) -> None:
    for priority, sent, expected in (
        ("batch", None, "batch"),
        ("batch", "normal", "batch"),
        ("normal", None, None),
        ("normal", "batch", "batch"),
    ):
        key = site.keyring.texts.get(priority) or site.add_key(priority, priority=priority)
        environ = {"HTTP_X_API_KEY": key, **({"HTTP_X_PRIORITY": sent} if sent else {})}
        site.guard.admit(environ)
        assert environ.get("HTTP_X_PRIORITY") == expected


def test_logs_and_counters_know_a_key_by_its_name_alone(site: Site) -> None:
    key = site.add_key("counted", models=["lstm"])
    site.post("/lstm/predict", key)
    site.post("/other/predict", key)
    site.post("/lstm/predict", key[:-2])
    log = site.log.getvalue().decode()
    told = [json.loads(line) for line in log.splitlines()[-3:]]
    assert [(line["status"], line.get("key")) for line in told] == [(200, "counted"), (403, "counted"), (401, None)]
    for text in site.keyring.texts.values():
        assert text not in log and text[17:] not in log
    text = site.client.get("/metrics").text
    for outcome in ("admitted", "forbidden"):
        assert re.search(rf'wsgiapp_requests_by_key_total{{key="counted",outcome="{outcome}"}} 1\.0', text)
    assert 'key="",outcome="unauthenticated"' in text


def test_a_request_that_is_let_in_costs_little_more_than_its_digest(site: Site) -> None:
    """A ratio, because processors differ; in seconds it is 5 us."""
    key = site.add_key("fast", rate=1e6, burst=1000, daily_quota=10**9)
    guard = site.guard

    def seconds(environ: dict[str, Any]) -> float:
        started = time.thread_time()
        for _ in range(1000):
            guard.admit(environ)
        return time.thread_time() - started

    environ = {"HTTP_AUTHORIZATION": f"Bearer {key}"}
    seconds(environ)
    yardstick = time.thread_time()
    for _ in range(1000):
        sum([number for number in range(64) if number >= 32])
    yardstick = time.thread_time() - yardstick
    assert statistics.median(seconds(environ) for _ in range(5)) < 10 * yardstick
