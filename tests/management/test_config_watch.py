"""A changed models.config is applied by itself; one that is wrong is said once, and waited for."""

import json
import logging
from pathlib import Path

import pytest

from support.home import TEXT, Home
from wsgiapp.errors import Unavailable
from wsgiapp.management.config_watch import ConfigWatch
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.tfserving.messages import ModelServerConfig


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def watch(home: Home) -> ConfigWatch:
    return ConfigWatch(home.control, home.settings)


@pytest.mark.parametrize("tells", [True, False], ids=["built in", "TF Serving"])
def test_a_change_is_applied_once(home: Home, watch: ConfigWatch, tells: bool) -> None:
    home.shelf.tells = tells
    watch.poll()
    home.file.write_text(TEXT + "# a comment is no change\n")
    watch.poll()
    assert len(home.shelf.reloads) == 1, "the one that the home began with"
    home.file.write_text(TEXT.replace("1", "2"))
    watch.poll()
    watch.poll()
    assert len(home.shelf.reloads) == 2
    assert home.labels == {"stable": 2}, "also in the file that the model server starts with"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_config_list {", "Error parsing text-format"),
        ("", "not applied: it has no model_config_list; an empty one unloads all models"),
        (TEXT.replace("versions: 1", "versions: 9"), "not reloaded: m: version 9 is asked for"),
    ],
)
def test_what_cannot_be_applied_is_said_once(
    home: Home, watch: ConfigWatch, caplog: pytest.LogCaptureFixture, text: str, said: str
) -> None:
    before = home.shelf.in_force
    home.file.write_text(text)
    audit = home.settings.logs / "audit.log"
    audit.unlink()
    for _ in range(3):
        watch.poll()
    assert [said in message for message in caplog.messages] == [True]
    assert not audit.exists() or len(audit.read_text().splitlines()) == 2, "nor is the audit log filled with it"
    assert str(home.file) in caplog.text
    assert home.shelf.in_force == before
    home.file.write_text(TEXT.replace("1", "3"))
    watch.poll()
    assert home.labels == {"stable": 3}
    line = json.loads(audit.read_text().splitlines()[-1])
    assert (line["name"], line["action"], line["outcome"]) == ("models watch", "reload", "done")


def test_an_empty_list_unloads_everything(home: Home, watch: ConfigWatch) -> None:
    home.file.write_text("model_config_list {}")
    watch.poll()
    assert home.shelf.in_force.model_config_list == ModelServerConfig().model_config_list


def test_it_waits_for_other_changes_and_for_the_model_server(
    home: Home, watch: ConfigWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    home.file.write_text(TEXT.replace("1", "2"))
    with ModelsFile(home.settings).locked():
        watch.poll()
    assert not caplog.messages and len(home.shelf.reloads) == 1

    def is_gone() -> None:
        raise Unavailable("the model server cannot be reached now")

    home.shelf.on_reload = is_gone
    watch.poll()
    watch.poll()
    assert [record.levelname for record in caplog.records if "reached" in record.message] == ["INFO"]
    home.shelf.on_reload = lambda: None
    watch.poll()
    assert home.labels == {"stable": 2}
    assert caplog.messages[-1] == f"{home.file} is applied"
