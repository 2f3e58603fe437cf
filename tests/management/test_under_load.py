"""Models, versions and labels change under a steady load, and no prediction fails."""

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.http_client import Background, fetch
from support.lexicon import give_lexicon
from support.processes import Process, free_port, poll, python_module
from wsgiapp.backend.interface import Target
from wsgiapp.backend.model_server import ModelServer
from wsgiapp.errors import RequestError
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.settings.loading import load_settings
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelVersionStatus

AVAILABLE, UNLOADING = ModelVersionStatus.AVAILABLE, ModelVersionStatus.UNLOADING
SHIFTS = {1: 2.0, 2: 3.0, 3: 3.0}  # what each version adds

WSGIAPP_TOML = """
[models.a]
pipeline = "segmented_text"
signature = "text"
[models.b]
pipeline = "segmented_text"
signature = "text"
[management]
seconds = 30.0
"""


def config(name: str, more: str = "") -> str:
    return f"""  config {{
    name: "{name}"
    base_path: "@{{models}}/{name}"
    model_platform: "tensorflow"
    {more}
  }}
"""


def models_config(*configs: str) -> str:
    return "# ours\nmodel_config_list {\n" + "".join(configs) + "}\n"


class Site:
    """A model server and a gateway's worker, with a home folder of their own."""

    def __init__(self, home: Path, versions: dict[int, Path]) -> None:
        self.home = home
        self._versions = versions
        self.port, self.backend_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (home / "conf").mkdir()
        (home / "run").mkdir()
        (home / "conf/wsgiapp.toml").write_text(WSGIAPP_TOML)
        give_lexicon(home)
        self.variables = {
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_CONF": str(home / "conf"),
            "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{self.backend_port}",
            "KERAS_HOME": str(home),
        }

    def add(self, model: str, number: int) -> None:
        """Copy a version in as people do: in place, file by file."""
        shutil.copytree(self._versions[min(number, 2)], self.home / "models" / model / str(number))

    def configure(self, *configs: str) -> None:
        (self.home / "conf/models.config").write_text(models_config(*configs))

    def models(self, *arguments: str, status: int = 0) -> str:
        """Run `wsgiapp models ...`; what it printed."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        done = subprocess.run(
            python_module("wsgiapp.cli", "models", *arguments),
            env={**inherited, **self.variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def predict(self, path: str) -> Any:
        return fetch(f"{self.url}{path}", {"words": ["a", "b"]}).json


class Seen(NamedTuple):
    started: float
    ended: float
    body: Any


class SteadyLoad(Background):
    """Predictions one after the other on each path, on keep-alive connections, with all that came back."""

    def __init__(self, port: int, *paths: str) -> None:
        self._port = port
        self._paths = paths
        self.seen: list[Seen] = []
        self.failures: list[str] = []

    def runs(self) -> list[Callable[[], None]]:
        return [partial(self._run, path) for path in self._paths]

    def wait_for_more(self, count: int = 50) -> None:
        enough = len(self.seen) + count
        poll(lambda: len(self.seen) >= enough, 60, "more answers")

    def _run(self, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        body = json.dumps({"words": ["a", "b", "c"]})
        while not self.stop.is_set():
            started = time.monotonic()
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as exc:
                self.failures.append(f"{path}: {exc!r}")
                connection.close()
                continue
            if response.status != 200 or answer["status"] != 0 or answer["classes_id"] != 3:
                self.failures.append(f"{path}: {response.status} {answer}")
            else:
                self.seen.append(Seen(started, time.monotonic(), answer))
        connection.close()


class Watch(Background):
    """What the model server says of a model's versions, again and again: (from, to, the versions that serve)."""

    def __init__(self, address: str, model: str) -> None:
        self._server = ModelServer(address, message_bytes=2**20)
        self._target = Target(model)
        self.looks: list[tuple[float, float, set[int]]] = []

    def runs(self) -> list[Callable[[], None]]:
        return [self._run]

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__()
        self._server.close()

    def served_during(self, started: float, ended: float) -> set[int]:
        """The versions that served at a look in that time, or at the last one before or the first one after it."""
        inside = [look for look in self.looks if look[1] >= started and look[0] <= ended]
        before = [look for look in self.looks if look[1] < started][-1:]
        after = [look for look in self.looks if look[0] > ended][:1]
        return set().union(*(versions for _, _, versions in [*before, *inside, *after]))

    def _run(self) -> None:
        while not self.stop.wait(0.01):
            asked = time.monotonic()
            try:
                statuses = self._server.status(self._target, asked + 10)
            except RequestError:
                continue
            serving = {each.version for each in statuses if each.state in (AVAILABLE, UNLOADING)}
            self.looks.append((asked, time.monotonic(), serving))


@pytest.fixture
def site(tmp_path: Path, tiny_versions: dict[int, Path]) -> Iterator[Site]:
    made = Site(tmp_path, tiny_versions)
    made.add("a", 1)
    made.configure(config("a", 'model_version_policy { all {} } version_labels { key: "stable" value: 1 }'))
    config_file = tmp_path / "run/models.config"
    config_file.write_text((tmp_path / "conf/models.config").read_text().replace("@{models}", f"{tmp_path}/models"))
    server = python_module(
        "wsgiapp.modelserver",
        "--host=127.0.0.1",
        f"--port={made.backend_port}",
        f"--model_config_file={config_file}",
        "--file_system_poll_wait_seconds=0.2",
    )
    worker = python_module("wsgiapp.worker", f"--listen=127.0.0.1:{made.port}")
    with (
        Process(server, tmp_path / "modelserver.log", **made.variables) as models,
        Process(worker, tmp_path / "worker.log", **made.variables) as gateway,
    ):
        models.wait_until(lambda: "serving gRPC" in models.output)
        gateway.wait_until(lambda: "ready, pid" in gateway.output)
        yield made


def test_everything_changes_and_no_prediction_fails(site: Site) -> None:
    with Watch(f"127.0.0.1:{site.backend_port}", "a") as watch:
        with SteadyLoad(site.port, "/a/predict", "/a/predict", "/a/labels/stable/predict") as load:
            change_everything(site, load)
        last = load.seen[-1].ended
        poll(lambda: watch.looks[-1][0] > last, 30, "a look after the last answer")
    assert not load.failures, load.failures[:5]
    for seen in load.seen:
        version = seen.body["model"]["version"]
        assert seen.body["shift"] == SHIFTS[version]
        assert version in watch.served_during(seen.started, seen.ended), seen
    assert {seen.body["model"]["version"] for seen in load.seen} == {1, 2, 3}


def change_everything(site: Site, load: SteadyLoad) -> None:
    load.wait_for_more()
    site.add("a", 2)  # a new version
    poll(lambda: site.predict("/a/predict")["model"]["version"] == 2, 60)
    load.wait_for_more()

    promoted = site.models("promote", "a", "2", "--label", "stable")  # a label moves
    assert "label stable is on version 2 now; it was on 1" in promoted
    assert site.predict("/a/predict?label=stable")["model"] == {"name": "a", "version": 2, "label": "stable"}
    load.wait_for_more()
    shutil.rmtree(site.home / "models/a/1")  # the old version goes
    poll(lambda: "Servable not found" in site.predict("/a/versions/1/predict").get("detail", ""), 60)
    load.wait_for_more()

    site.add("b", 1)  # a second model
    stable = 'model_version_policy { all {} } version_labels { key: "stable" value: 2 }'
    site.configure(config("a", stable), config("b"))
    assert "is active" in site.models("reload")
    assert site.predict("/b/predict")["model"] == {"name": "b", "version": 1}
    load.wait_for_more()

    (site.home / "models/c/1").mkdir(parents=True)  # one that cannot load
    (site.home / "models/c/1/saved_model.pb").write_bytes(b"\x08\x01garbage")
    site.configure(config("a", stable), config("b"), config("c"))
    assert "not reloaded: c: version 1: " in site.models("reload", status=1)
    site.models("reload", "--force", status=1)
    assert site.predict("/b/predict")["model"]["version"] == 1
    load.wait_for_more()
    site.configure(config("a", stable), config("b"))
    assert "is active" in site.models("reload")

    site.add("a", 3)  # forward and back
    assert "it was on 2" in site.models("promote", "a", "3", "--label", "stable")
    assert site.predict("/a/labels/stable/predict")["model"]["version"] == 3
    load.wait_for_more()
    assert "it was on 3" in site.models("promote", "a", "2", "--label", "stable")
    assert site.predict("/a/labels/stable/predict")["model"]["version"] == 2
    broken = site.home / "models/a/4"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"garbage")
    assert "not promoted: version 4" in site.models("promote", "a", "4", "--label", "stable", status=1)
    assert site.predict("/a/labels/stable/predict")["model"]["version"] == 2
    load.wait_for_more()


def test_the_commands_of_an_operator(site: Site) -> None:
    listed = site.models("list").splitlines()
    assert listed[0].split() == ["MODEL", "VERSIONS", "LABELS", "BASE", "PATH"]
    assert listed[1].split() == ["a", "1", "stable=1", f"{site.home}/models/a"]
    assert site.models("status").splitlines()[1].split() == ["a", "1", "AVAILABLE", "stable"]
    (site.home / "models/a/2").mkdir()
    (site.home / "models/a/2/saved_model.pb").write_bytes(b"garbage")
    poll(lambda: "END" in site.models("status", "a"), 60)
    shutil.rmtree(site.home / "models/a/2")
    rows = [row.split()[:3] for row in site.models("status", "a").splitlines()[1:]]
    assert rows == [["a", "1", "AVAILABLE"]], "what is deleted is not listed, though the model server still knows of it"
    (site.home / "models/a/2").mkdir()
    (site.home / "models/a/2/saved_model.pb").write_bytes(b"garbage")
    assert "is not configured" in site.models("status", "x", status=1)
    checked = site.models("check", status=1)
    assert "error: a: version 2: " in checked
    assert "warning: b: in wsgiapp.toml, but not in models.config" in checked
    assert "no model 'x'" not in checked
    assert "'x' is not in models.config; there are a" in site.models("promote", "x", "1", "--label", "l", status=1)


def test_a_configuration_whose_model_does_not_load_is_not_kept(site: Site) -> None:
    """Neither active nor written; with force both. A model server that is TensorFlow Serving does likewise."""
    site.add("a", 2)
    (site.home / "models/a/2/variables/variables.index").write_bytes(b"garbage that only a load finds out")
    for path in (site.home / "models/a/2").rglob("*"):
        os.utime(path, (0, 0))
    file = site.home / "conf/models.config"
    only = "model_version_policy { specific { versions: %d } }"
    site.configure(config("a", only % 1))
    site.models("reload")
    before = file.read_text()
    wanted = models_config(config("a", only % 2)).replace("@{models}", f"{site.home}/models")

    client = ModelServer(f"127.0.0.1:{site.backend_port}", message_bytes=2**20)
    control = ControlPlane(load_settings(site.variables), client)
    active = control.config()
    with pytest.raises(RequestError, match=r"not applied: .*; the configuration from before is active"):
        control.replace(wanted)
    assert (control.config(), file.read_text()) == (active, before)
    assert site.predict("/a/predict")["model"]["version"] == 1

    findings = control.replace(wanted, force=True)
    assert any(finding.is_error for finding in findings)
    assert control.config() == model_config.parse(wanted, where="wanted") != active
    assert file.read_text() == wanted
    client.close()
