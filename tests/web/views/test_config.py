"""`/v1/config`: who may use it, and what it says."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from support.home import TEXT, Home
from wsgiapp.app import Application, create_planes
from wsgiapp.web.access_log import log_access
from wsgiapp.web.planes import Planes

TOKEN = {"Authorization": "Bearer secret"}


class Site(Home):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        planes = Planes(create_planes(self.settings, self.shelf).data, self.control)  # type: ignore[arg-type]
        self.log = io.BytesIO()
        self.client = Client(log_access(Application(self.settings, planes), self.log))

    def post(self, path: str, **arguments: Any) -> TestResponse:
        return self.client.post(path, headers=TOKEN, **arguments)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/config"), ("POST", "/v1/config"), ("POST", "/v1/config:reload"), ("POST", "/v1/config:promote")],
)
def test_nobody_gets_in_without_the_token(site: Site, method: str, path: str) -> None:
    reloads = len(site.shelf.reloads)
    for sent in ({}, {"Authorization": "secret"}, {"Authorization": "Basic secret"}, {"Authorization": "Bearer x"}):
        answer = site.client.open(path, method=method, data=TEXT, headers=sent)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert len(site.shelf.reloads) == reloads
    assert b"secret" not in site.log.getvalue()


def test_show(site: Site) -> None:
    (model,) = site.client.get("/v1/config", headers=TOKEN).json["model_config_list"]["config"]
    assert model["version_labels"] == {"stable": "1"}
    assert model["base_path"] == str(site.settings.home / "models/m")


def test_replace(site: Site) -> None:
    config = site.client.get("/v1/config", headers=TOKEN).json
    config["model_config_list"]["config"][0]["model_version_policy"] = {"all": {}}
    assert site.post("/v1/config", json=config).json == {"applied": True, "warnings": []}
    assert site.labels == {"stable": 1}
    assert len(site.control.models()[0].versions) == 3
    text = TEXT.replace("@{models}", str(site.settings.home / "models"))
    assert site.post("/v1/config", data=text).status_code == 200
    assert site.file.read_text() == text
    assert len(site.control.models()[0].versions) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "improperly formatted file"}, "Error parsing text-format tensorflow.serving.ModelServerConfig: body"),
        ({"json": {"model_config_list": {"config": [{"nmae": "m"}]}}}, "nmae"),
        ({"json": []}, "object"),
        ({"data": TEXT.replace("@{models}/m", "/etc")}, "base_path: /etc of m is outside"),
        ({"data": TEXT.replace('"stable" value: 1', '"stable" value: 9')}, "points at version 9, which is not there"),
    ],
)
def test_a_bad_configuration_changes_nothing(site: Site, arguments: dict[str, Any], message: str) -> None:
    before = site.shelf.in_force
    answer = site.post("/v1/config", **arguments)
    assert answer.status_code == 400
    assert message in answer.text
    assert (site.shelf.in_force, site.file.read_text()) == (before, TEXT)


def test_reload(site: Site) -> None:
    site.file.write_text(TEXT.replace("versions: 1", "versions: 1 versions: 9"))
    answer = site.post("/v1/config:reload")
    assert answer.json["applied"] and "version 9 is asked for" in answer.json["warnings"][0]
    site.file.write_text(TEXT.replace("/m", "/gone"))
    assert site.post("/v1/config:reload").status_code == 400


def test_promote(site: Site) -> None:
    answer = site.post("/v1/config:promote", json={"model": "m", "version": 2, "label": "stable"})
    assert answer.json == {"model": "m", "label": "stable", "version": 2, "previous_version": 1}
    assert site.labels == {"stable": 2}
    line = json.loads(site.log.getvalue().splitlines()[-1])
    assert (line["model"], line["version"], line["label"]) == ("m", 2, "stable")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"version": 2, "label": "stable"}, 400, "model: missing"),
        ({"model": "m", "label": "stable"}, 400, "version: missing"),
        ({"model": "m", "version": "2", "label": "stable"}, 400, "version: "),
        ({"model": "m", "version": 2**63, "label": "stable"}, 400, "version: "),
        ({"model": "m", "version": True, "label": "stable"}, 400, "version: "),
        ({"model": "m", "version": 2, "label": ""}, 400, "label: "),
        ({"model": "m", "version": 9, "label": "stable"}, 404, "there are 1, 2, 3"),
        (
            {"model": "m", "version": 3, "label": "stable"},
            409,
            "not promoted: 1 servable(s) did not become available: broken",
        ),
    ],
)
def test_a_promotion_that_makes_no_sense(site: Site, fields: dict[str, Any], status: int, message: str) -> None:
    site.shelf.broken = {3}
    answer = site.post("/v1/config:promote", json=fields)
    assert answer.status_code == status
    assert message in answer.text
    assert site.labels == {"stable": 1}
