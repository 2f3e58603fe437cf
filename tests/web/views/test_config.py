"""`/v1/config`: who may use it, and what it says."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from support.access import Keyring, looks_again
from support.home import MANAGEMENT_TOKEN, TEXT, Home
from wsgiapp.app import Application, create_planes
from wsgiapp.web.access_log import log_access

TOKEN = {"Authorization": "Bearer secret"}


class Site(Home):
    def __init__(self, folder: Path, token: str = MANAGEMENT_TOKEN) -> None:
        super().__init__(folder, token)
        self.audit = self.settings.logs / "audit.log"
        planes = create_planes(self.settings, self.shelf)  # type: ignore[arg-type]
        self.tokens = planes.tokens
        self.keyring = Keyring(self.settings.credentials_file)
        self.log = io.BytesIO()
        self.client = Client(log_access(Application(self.settings, planes), self.log))

    @property
    def another_worker(self) -> Client:
        return Client(Application(self.settings, create_planes(self.settings, self.shelf)))  # type: ignore[arg-type]

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


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [("read", {"show"}), ("promote", {"promote"}), ("replace", {"replace", "reload"})],
)
def test_a_token_may_do_what_its_scopes_say(site: Site, scope: str, allowed: set[str]) -> None:
    token = site.keyring.add_token("ci", scope)
    looks_again(site.tokens._authenticator)
    headers = {"Authorization": f"Bearer {token}"}
    text = TEXT.replace("@{models}", str(site.settings.home / "models"))
    done = {
        "show": site.client.get("/v1/config", headers=headers),
        "promote": site.client.post(
            "/v1/config:promote", headers=headers, json={"model": "m", "version": 2, "label": "stable"}
        ),
        "reload": site.client.post("/v1/config:reload", headers=headers),
        "replace": site.client.post("/v1/config", headers=headers, data=text),
    }
    assert {name for name, answer in done.items() if answer.status_code == 200} == allowed
    for name in done.keys() - allowed:
        assert done[name].status_code == 403
        assert "the token 'ci' has not the scope" in done[name].json["error"]


def test_without_any_token_management_is_off_and_one_in_the_file_opens_it(tmp_path: Path) -> None:
    site = Site(tmp_path, token="")
    assert site.client.get("/v1/config", headers=TOKEN).status_code == 403
    token = site.keyring.add_token("ci", "read")
    looks_again(site.tokens._authenticator)
    assert site.client.get("/v1/config", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert site.client.get("/v1/config", headers={"Authorization": "Bearer "}).status_code == 401


def test_who_guesses_is_not_answered_any_more_and_others_are(site: Site) -> None:
    ci = site.keyring.add_token("ci", "read")
    looks_again(site.tokens._authenticator)

    def get(token: str, address: str) -> TestResponse:
        environ = {"REMOTE_ADDR": address}
        headers = {"Authorization": f"Bearer {token}"}
        return site.client.get("/v1/config", headers=headers, environ_overrides=environ)

    guesses = [get(f"guess{number}", "192.0.2.1") for number in range(12)]
    assert [answer.status_code for answer in guesses] == [401] * 10 + [429] * 2
    assert 1 <= int(guesses[-1].headers["Retry-After"]) <= 60
    assert get("secret", "192.0.2.1").status_code == 429, "it does not learn that it has found it"
    assert get("secret", "192.0.2.2").status_code == 200
    assert get(ci, "192.0.2.1").status_code == 200, "nobody guesses 256 bits"
    guesser = {"REMOTE_ADDR": "192.0.2.1"}
    assert site.another_worker.get("/v1/config", headers=TOKEN, environ_overrides=guesser).status_code == 429


def test_each_change_is_in_the_audit_log(site: Site) -> None:
    ci = site.keyring.add_token("ci", "promote")
    looks_again(site.tokens._authenticator)
    headers = {"Authorization": f"Bearer {ci}", "X-Request-ID": "r1"}
    site.audit.unlink()
    wanted = {"model": "m", "version": 2, "label": "stable"}
    site.client.post("/v1/config:promote", headers=headers, json=wanted, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    begun, done = map(json.loads, site.audit.read_text().splitlines())
    assert begun.pop("outcome") == "begun"
    assert begun.pop("time") <= done.pop("time")
    who = {"name": "ci", "address": "192.0.2.1", "request_id": "r1"}
    assert begun == {**who, "action": "promote", **wanted}
    changes = done.pop("changes")
    assert done == {**begun, "outcome": "done"}
    assert changes["m"]["labels"] == [{"stable": 1}, {"stable": 2}]
    assert "versions: 2" in changes["m"]["versions"][1]
    assert ci not in site.audit.read_text()


def test_a_change_that_fails_is_in_the_audit_log_with_the_reason(site: Site) -> None:
    site.audit.unlink()
    name = "m" * 100_000
    assert site.post("/v1/config:promote", json={"model": name, "version": 2, "label": "stable"}).status_code == 404
    begun, failed = site.audit.read_text().splitlines()
    assert (json.loads(failed)["outcome"], json.loads(failed)["name"]) == ("failed", "management.token")
    assert "is not in models.config" in failed or len(json.loads(failed)["error"]) <= 203
    assert max(len(begun), len(failed)) < 2000
    assert "secret" not in begun + failed


def test_what_cannot_be_written_down_is_not_done(site: Site) -> None:
    site.audit.unlink()
    site.audit.mkdir()
    answer = site.post("/v1/config:promote", json={"model": "m", "version": 2, "label": "stable"})
    assert answer.status_code == 507
    assert "audit.log cannot be written (Is a directory), and without a line in it nothing is changed" in answer.text
    assert site.labels == {"stable": 1}
