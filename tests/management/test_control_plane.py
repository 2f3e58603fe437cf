"""Changes of the models: applied first, written afterwards, undone where they fail."""

import fcntl
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.home import TEXT, Home
from support.processes import poll
from wsgiapp.backend.interface import Target
from wsgiapp.errors import (
    Conflict,
    InvalidArgument,
    InvalidField,
    NotFound,
    RequestError,
    Unavailable,
    Unreachable,
)
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelVersionStatus


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
    line = json.loads((home.settings.logs / "audit.log").read_text().splitlines()[-1])
    assert line["name"].startswith("local:") and line["changes"]["m"]["labels"] == [{"stable": 1}, {"stable": 2}]
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
            "not promoted: 1 .* did not become available: broken; the configuration from before is active",
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


def test_an_interrupted_promotion_leaves_all_as_it_was(home: Home) -> None:
    before, seen = home.shelf.in_force, home.shelf.status
    looks = []

    def interrupted(target: Target, deadline: float) -> list[ModelVersionStatus]:
        looks.append(target)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return seen(target, deadline)

    home.shelf.status = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        home.control.promote("m", 2, "stable")
    assert home.shelf.in_force == before
    assert (home.labels, home.file.read_text()) == ({"stable": 1}, TEXT)


def test_a_model_server_elsewhere_is_not_asked_for_its_folders(home: Home) -> None:
    elsewhere = ControlPlane(replace(home.settings, app=replace(home.settings.app, backend="external")), home.shelf)
    assert elsewhere.promote("m", 2, "stable") == 1
    assert home.labels == {"stable": 2}
    home.file.write_text(home.file.read_text().replace("/m", "/nowhere"))
    assert [finding.is_error for finding in elsewhere.check()] == []
    assert [finding.is_error for finding in home.control.check()] == [True]


def test_changes_not_applied_are_not_promoted_along(home: Home) -> None:
    home.file.write_text(TEXT.replace("versions: 1", "versions: 1 versions: 2"))
    with pytest.raises(Conflict, match="changes that are not active"):
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
    assert model_config.read(home.settings.run / "models.config") == home.shelf.in_force


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


def with_versions(home: Home, versions: str) -> str:
    models = str(home.settings.home / "models")
    return TEXT.replace("@{models}", models).replace("versions: 1", versions)


def test_a_configuration_whose_model_does_not_load_changes_nothing(home: Home) -> None:
    home.shelf.broken = {3}
    before = home.shelf.in_force
    with pytest.raises(Conflict, match=r"not applied: .*broken; the configuration from before is active"):
        home.control.replace(with_versions(home, "versions: 1 versions: 3"))
    assert (home.shelf.in_force, home.file.read_text()) == (before, TEXT)
    assert home.labels == {"stable": 1}
    assert home.control.promote("m", 2, "stable") == 1, "nothing is in the way of a promotion"


def test_with_force_it_is_active_and_written(home: Home) -> None:
    home.shelf.broken = {3}
    text = with_versions(home, "versions: 1 versions: 3")
    (finding,) = home.control.replace(text, force=True)
    assert finding.is_error and "broken" in finding.text
    assert home.file.read_text() == text and home.labels == {"stable": 1}


CHANGES: dict[str, Callable[[Home], object]] = {
    "replace": lambda home: home.control.replace(with_versions(home, "versions: 1 versions: 2")),
    "promote": lambda home: home.control.promote("m", 2, "stable"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_cannot_be_written_changes_nothing(home: Home, change: Callable[[Home], object]) -> None:
    before = home.shelf.in_force
    rendered = (home.settings.run / "models.config").read_text()
    (home.settings.run / "models.config.new").mkdir()  # where the new one would be written
    with pytest.raises(Conflict, match=r"not (applied|promoted): .*Is a directory.*; the configuration from before"):
        change(home)
    assert (home.shelf.in_force, home.file.read_text()) == (before, TEXT)
    assert (home.settings.run / "models.config").read_text() == rendered


def test_when_the_second_file_cannot_be_replaced_the_first_is_as_it_was(home: Home) -> None:
    before, rendered = home.shelf.in_force, home.settings.run / "models.config"
    rendered.unlink()
    rendered.mkdir()
    with pytest.raises(Conflict, match=r"not applied: .*Is a directory.*; the configuration from before is active"):
        home.control.replace(with_versions(home, "versions: 1 versions: 2"))
    assert (home.shelf.in_force, home.file.read_text()) == (before, TEXT)


def test_a_reload_whose_rendered_file_cannot_be_written_says_so(home: Home) -> None:
    (home.settings.run / "models.config.new").mkdir()
    home.file.write_text(TEXT.replace("versions: 1", "versions: 1 versions: 2"))
    with pytest.raises(Conflict, match=r"models\.config is active, but a model server that restarts .*Is a directory"):
        home.control.reload()
    (home.settings.run / "models.config.new").rmdir()
    home.control.reload()
    assert model_config.read(home.settings.run / "models.config") == home.shelf.in_force


def cut_off(home: Home, text: str) -> None:
    """Leave all as a process does that is killed after the model server has taken its change."""
    files = ModelsFile(home.settings)
    files.note_intent(text)
    home.shelf.reload(files.parse(text), time.monotonic() + 1)


def test_a_change_that_was_cut_off_is_written_by_the_next_one(home: Home) -> None:
    text = with_versions(home, "versions: 1 versions: 2")
    cut_off(home, text)
    home.control.promote("m", 2, "stable")
    assert home.file.with_name("models.config.previous").read_text() == text
    assert model_config.read(home.settings.run / "models.config") == home.shelf.in_force
    assert home.labels == {"stable": 2}


def test_a_change_that_was_cut_off_never_overwrites_what_somebody_wrote_since(home: Home) -> None:
    cut_off(home, with_versions(home, "versions: 1 versions: 2"))
    mine = "# mine\n" + with_versions(home, "versions: 2").replace("value: 1", "value: 2")
    home.file.write_text(mine)
    home.control.reload()
    assert home.file.read_text() == mine
    assert home.labels == {"stable": 2}


def test_a_change_that_was_cut_off_before_it_was_taken_is_forgotten(home: Home) -> None:
    ModelsFile(home.settings).note_intent(with_versions(home, "versions: 1 versions: 2"))
    home.control.reload()
    assert home.file.read_text() == TEXT
    assert not list(home.settings.run.glob("*.intent"))


def test_a_model_server_that_goes_away_during_a_change(home: Home) -> None:
    def away() -> None:
        raise Unreachable("the model server cannot be reached now")

    home.shelf.on_reload = away
    with pytest.raises(Unavailable, match=r"not applied: .* cannot be reached now; the configuration from before is"):
        home.control.replace(with_versions(home, "versions: 1 versions: 2"))
    assert home.file.read_text() == TEXT and home.labels == {"stable": 1}, "it starts with the old one"


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
