"""models.config is polled and applied, with a loader that reads a number from a file instead of a SavedModel."""

import time
from pathlib import Path

import pytest

from support.processes import poll
from support.version_folders import ALL, VersionFolders, labels, wait
from wsgiapp.modelserver.lifecycle.config_file import ConfigFile
from wsgiapp.tfserving.messages import ModelServerConfig


@pytest.fixture
def path(loaded: VersionFolders) -> Path:
    return loaded.folder / "models.config"


@pytest.fixture
def file(loaded: VersionFolders, path: Path) -> ConfigFile:
    return ConfigFile(path, loaded.reloads.config, loaded.reloads, 0.05)


def test_it_is_applied_when_it_changes(loaded: VersionFolders, path: Path, file: ConfigFile) -> None:
    path.write_text(str(loaded.config(b="", new="")))
    file.poll()
    assert loaded.reconciler.wait_for_attempts(wait())
    assert loaded.answer("new") == 2
    assert "a" not in loaded.leases.availability()
    loaded.reload(a=ALL)
    file.poll()
    assert set(loaded.leases.availability()) == {"a"}, "an unchanged file leaves what a call has reloaded"


@pytest.mark.parametrize("text", ["model_config_list {", "", "model_config_list { config { name: 'x' } }"])
def test_a_bad_one_is_logged_once(
    loaded: VersionFolders, path: Path, file: ConfigFile, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = ModelServerConfig()
    before.CopyFrom(loaded.reloads.config)
    path.write_text(text)
    for _ in range(3):
        file.poll()
    assert loaded.reloads.config == before
    assert len([each for each in caplog.records if "is not applied" in each.message]) == 1
    path.unlink()
    file.poll()
    assert loaded.answer("a", label="stable") == 1
    path.write_text(str(loaded.config(new="")))
    file.poll()
    assert set(loaded.leases.availability()) == {"new"}


def test_a_rejected_one_is_tried_again(loaded: VersionFolders, path: Path, file: ConfigFile) -> None:
    path.write_text(str(loaded.config(a=ALL + labels(stable=3), b="")))
    file.start()
    time.sleep(0.2)
    assert loaded.answer("a", label="stable") == 1
    loaded.add("a", 3)
    poll(lambda: loaded.answer("a", label="stable") == 3, 10)
    file.stop(10)
