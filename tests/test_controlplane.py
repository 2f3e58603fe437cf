"""Changes of the models: put in force first, written afterwards, undone where they fail."""

import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import poll
from wsgiapp import modelconfig, settings, storage
from wsgiapp.backend import Target
from wsgiapp.controlplane import ControlPlane
from wsgiapp.errors import (
    Conflict,
    InvalidArgument,
    InvalidField,
    NotFound,
    PermissionDenied,
    RequestError,
    Unauthenticated,
    Unimplemented,
)
from wsgiapp.protos import ModelServerConfig, ModelVersionStatus, SavedModel

TEXT = """# ours
model_config_list {
  config {
    name: "m"
    base_path: "@{models}/m"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } }
    version_labels { key: "stable" value: 1 }
  }
}
"""


class Shelf:
    """A model server that loads what the policies ask for, but for versions in `broken`, and checks labels."""

    def __init__(self) -> None:
        self.in_force = ModelServerConfig()
        self.broken: set[int] = set()
        self.reloads: list[ModelServerConfig] = []
        self.tells = True
        self.on_reload: Callable[[], None] = lambda: None

    def config(self, deadline: float) -> ModelServerConfig:
        if not self.tells:
            raise Unimplemented("no such method")
        return self.in_force

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        assert deadline > time.monotonic()
        self.on_reload()
        models = modelconfig.models_of(config, where="reload")
        for model in models.values():
            wanted = storage.wanted_versions(model, storage.find_versions(model.base_path))
            for version in model.labels.values():
                if version not in wanted - self.broken:
                    raise InvalidArgument(f"version {version} is not currently available for inference")
        self.reloads.append(config)
        self.in_force = config

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        models = modelconfig.models_of(self.in_force, where="status")
        if target.model not in models:
            raise NotFound("no versions")
        model = models[target.model]
        wanted = storage.wanted_versions(model, storage.find_versions(model.base_path))
        return [self._status(version) for version in sorted(wanted, reverse=True)]

    def _status(self, version: int) -> ModelVersionStatus:
        if version not in self.broken:
            return ModelVersionStatus(version=version, state=ModelVersionStatus.AVAILABLE)
        status = ModelVersionStatus(version=version, state=ModelVersionStatus.END)
        status.status.error_message = "broken"
        return status


class Home:
    """A home folder with versions 1 to 3 of the model `m`, version 1 in force."""

    def __init__(self, folder: Path) -> None:
        (folder / "conf").mkdir()
        (folder / "conf/wsgiapp.toml").write_text('[management]\ntoken = "secret"\nseconds = 1.0\n' + MODELS)
        self.file = folder / "conf/models.config"
        self.file.write_text(TEXT)
        for version in (1, 2, 3):
            directory = folder / f"var/models/m/{version}"
            directory.mkdir(parents=True)
            message = SavedModel()
            message.meta_graphs.add().meta_info_def.tags.append("serve")
            (directory / "saved_model.pb").write_bytes(message.SerializeToString())
        self.settings = settings.load({"WSGIAPP_CONF": str(folder / "conf"), "WSGIAPP_HOME": str(folder / "var")})
        self.shelf = Shelf()
        self.control = ControlPlane(self.settings, self.shelf)
        self.control.reload()

    @property
    def labels(self) -> dict[str, int]:
        """Those in the file, which must be those in force, and those the model server would start with."""
        rendered = modelconfig.read(self.settings.run / "models.config")
        assert rendered == self.shelf.in_force
        text = self.file.read_text().replace("@{models}", str(self.settings.home / "models"))
        assert modelconfig.parse(text, where="file") == self.shelf.in_force
        return dict(rendered.model_config_list.config[0].version_labels)


MODELS = '[models.m]\npipeline = "segmented_text"\n'


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_models(home: Home) -> None:
    (model,) = home.control.models()
    assert (model.name, dict(model.labels)) == ("m", {"stable": 1})
    assert [(each.version, each.state) for each in model.versions] == [(1, ModelVersionStatus.AVAILABLE)]
    home.shelf.tells = False  # as TF Serving
    assert home.control.models() == [model]


def test_promote_and_back(home: Home) -> None:
    assert home.control.promote("m", 2, "stable") == 1
    assert home.labels == {"stable": 2}
    assert "# ours" in home.file.read_text() and "@{models}/m" in home.file.read_text()
    assert home.control.promote("m", 3, "canary") is None
    assert home.labels == {"stable": 2, "canary": 3}
    assert home.control.promote("m", 1, "stable") == 2
    assert home.labels == {"stable": 1, "canary": 3}
    (model,) = home.control.models()
    assert {each.version for each in model.versions} == {1, 2, 3}, "each is still there to go back to"


@pytest.mark.parametrize(
    ("model", "version", "error", "message"),
    [
        ("m", 9, NotFound, "version 9 is not in .*; there are 1, 2, 3"),
        ("x", 1, NotFound, "model 'x' is not in models.config; there are m"),
        (
            "m",
            3,
            Conflict,
            "not promoted: version 3 cannot be loaded: broken; the configuration from before is in force",
        ),
    ],
)
def test_a_promotion_that_fails_leaves_all_as_it_was(
    home: Home, model: str, version: int, error: type[RequestError], message: str
) -> None:
    home.shelf.broken = {3}
    before = home.shelf.in_force
    with pytest.raises(error, match=message):
        home.control.promote(model, version, "stable")
    assert home.shelf.in_force == before
    assert (home.labels, home.file.read_text()) == ({"stable": 1}, TEXT)


def test_a_version_that_takes_too_long_is_not_promoted(home: Home) -> None:
    seen = home.shelf.status
    home.shelf.status = lambda target, deadline: [  # type: ignore[method-assign]
        each for each in seen(target, deadline) if each.version != 2
    ]
    with pytest.raises(Conflict, match="version 2 is not AVAILABLE after 1 s"):
        home.control.promote("m", 2, "stable")
    assert home.labels == {"stable": 1}


def test_changes_not_in_force_are_not_promoted_along(home: Home) -> None:
    home.file.write_text(TEXT.replace("versions: 1", "versions: 1 versions: 2"))
    with pytest.raises(Conflict, match="changes that are not in force"):
        home.control.promote("m", 2, "stable")
    home.control.reload()
    home.control.promote("m", 2, "stable")
    assert home.labels == {"stable": 2}


def test_a_reload_with_errors_needs_force(home: Home) -> None:
    reloads = len(home.shelf.reloads)
    more = 'config { name: "b" base_path: "/nowhere" model_platform: "tensorflow" }\n'
    home.file.write_text(TEXT.replace("  config {", f"  {more}  config {{"))
    with pytest.raises(InvalidArgument, match="not reloaded: b: base_path /nowhere"):
        home.control.reload()
    assert len(home.shelf.reloads) == reloads
    assert [finding.is_error for finding in home.control.check() if "/nowhere" in finding.text] == [True]
    home.file.write_text("improperly formatted file")
    with pytest.raises(InvalidArgument, match="Error parsing text-format"):
        home.control.reload(force=True)
    assert modelconfig.read(home.settings.run / "models.config") == home.shelf.in_force


def test_the_check_knows_the_gateway_s_models(home: Home) -> None:
    home.file.write_text(TEXT.replace('"m"', '"n"'))
    texts = [finding.text for finding in home.control.check()]
    assert "m: in wsgiapp.toml, but not in models.config" in texts


def test_a_configuration_from_elsewhere_stays_in_known_folders(home: Home) -> None:
    models = str(home.settings.home / "models")
    new = TEXT.replace("@{models}", models).replace("versions: 1", "versions: 1 versions: 2")
    home.control.replace(new)
    assert home.file.read_text() == new
    assert home.file.with_name("models.config.previous").read_text() == TEXT
    assert home.labels == {"stable": 1}
    for folder in ("/etc", f"{models}/../secret", "relative"):
        with pytest.raises(InvalidField, match="base_path"):
            home.control.replace(TEXT.replace("@{models}/m", folder), force=True)
    assert home.file.read_text() == new


def test_one_change_at_a_time(home: Home) -> None:
    started, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        assert go_on.wait(30)

    home.shelf.on_reload = wait
    first = threading.Thread(target=home.control.reload)
    first.start()
    assert started.wait(30)
    with pytest.raises(Conflict, match="another change of the models is under way"):
        home.control.promote("m", 2, "stable")
    home.shelf.on_reload = lambda: None
    go_on.set()
    first.join()
    with (home.settings.run / "models.lock").open() as file:
        poll(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB) is None, 5)
    home.control.promote("m", 2, "stable")
    assert home.labels == {"stable": 2}


def test_who_may(home: Home, tmp_path: Path) -> None:
    home.control.authorize("secret")
    for token in ("", "Secret", "secret2", "\udcff"):
        with pytest.raises(Unauthenticated):
            home.control.authorize(token)
    without = ControlPlane(settings.load({}), home.shelf)
    with pytest.raises(PermissionDenied, match="is empty"):
        without.authorize("")
