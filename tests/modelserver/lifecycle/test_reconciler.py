"""What is loaded follows the folders, with a loader that reads a number from a file instead of a SavedModel."""

import logging
import shutil
from collections.abc import Callable

import pytest

from support.processes import poll
from support.version_folders import ALL, VersionFolders, labels, specific
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, END, START


def test_start_loads_what_is_there(folders: VersionFolders) -> None:
    assert folders.states() == {1: AVAILABLE}
    assert folders.answer() == 1


def test_a_removed_version_is_replaced_by_the_one_before(folders: VersionFolders) -> None:
    shutil.rmtree(folders.add("m", 2))
    folders.add("m", 2)
    folders.poll()
    shutil.rmtree(folders.folder / "m" / "2")
    folders.poll()
    poll(lambda: folders.states() == {1: AVAILABLE, 2: END}, 10)
    assert folders.answer() == 1


def test_a_missing_base_path_affects_only_its_own_model(
    make_folders: Callable[..., VersionFolders],
) -> None:
    folders = make_folders()
    folders.add("m", 1)
    folders.add("n", 1)
    folders.start(m="", n="", never="")
    (folders.folder / "m").rename(folders.folder / "away")
    folders.add("n", 2)
    folders.poll()
    assert (folders.answer("m"), folders.answer("n")) == (1, 2)
    with pytest.raises(ServingError, match="any versions of model never: Could not find base path"):
        folders.states("never")
    folders.add("never", 3)
    folders.poll()
    assert folders.answer("never") == 3


def test_an_empty_base_path_unloads(folders: VersionFolders) -> None:
    shutil.rmtree(folders.folder / "m" / "1")
    folders.poll()
    poll(lambda: folders.states() == {1: END}, 10)
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        folders.answer()
    folders.add("m", 1)
    folders.poll()
    assert folders.answer() == 1


def test_a_version_that_is_being_copied_is_left_alone(folders: VersionFolders) -> None:
    for size in range(1, 6):
        folders.add("m", 2, "2" * size)
        folders.reconciler.poll()
    assert len(folders.loads) == 1
    folders.add("m", 2)
    folders.poll()
    assert folders.answer() == 2


def test_a_version_without_its_model_file_is_waited_for(folders: VersionFolders) -> None:
    (folders.folder / "m" / "2" / "variables").mkdir(parents=True)
    folders.poll()
    assert folders.states() == {1: AVAILABLE, 2: START}
    assert "there is no saved_model.pb" in folders.error(2)
    assert len(folders.loads) == 1
    shutil.rmtree(folders.folder / "m" / "2")
    folders.poll()
    assert folders.states() == {1: AVAILABLE}
    folders.add("m", 2)
    folders.poll()
    assert (folders.answer(), folders.error(2)) == (2, "")


def test_at_start_a_whole_version_is_preferred_to_a_newer_half_one(make_folders: Callable[..., VersionFolders]) -> None:
    folders = make_folders()
    folders.add("m", 1)
    (folders.folder / "m" / "2").mkdir()
    folders.start(m="")
    assert (folders.answer(), folders.states()) == (1, {1: AVAILABLE, 2: START})


def test_failed_loads_are_retried_without_polling(make_folders: Callable[..., VersionFolders]) -> None:
    folders = make_folders(max_retries=1, max_pause=0.01)
    folders.add("m", 1, "one")
    folders.start(m="")
    folders.reconciler.watch()  # with poll_seconds=0
    poll(lambda: len(folders.loads) == 2, 20)


def test_policies(make_folders: Callable[..., VersionFolders], caplog: pytest.LogCaptureFixture) -> None:
    folders = make_folders()
    for name in ("newest", "two", "all", "some"):
        for version in (1, 2, 3):
            folders.add(name, version)
    two = "model_version_policy { latest { num_versions: 2 } }"
    folders.start(newest="", two=two, all=ALL, some=specific(1, 3, 8, 9))
    assert {name: set(folders.states(name)) for name in ("newest", "two", "all", "some")} == {
        "newest": {3},
        "two": {2, 3},
        "all": {1, 2, 3},
        "some": {1, 3},
    }
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        folders.poll()
    assert not caplog.records, "a missing specific version is warned of once"


def test_a_label_keeps_its_version(make_folders: Callable[..., VersionFolders]) -> None:
    """A newer version is loaded beside it, and the old one goes with the label, or with its files."""
    folders = make_folders()
    folders.add("m", 1)
    folders.start(m=labels(stable=1))
    folders.add("m", 2)
    folders.poll()
    poll(lambda: folders.states() == {1: AVAILABLE, 2: AVAILABLE}, 10)
    folders.poll()
    assert (folders.answer(), folders.answer(label="stable")) == (2, 1)
    folders.reload(m=labels(stable=2))
    poll(lambda: folders.states() == {1: END, 2: AVAILABLE}, 10)
    folders.add("m", 3)
    folders.poll()
    poll(lambda: folders.states()[3] == AVAILABLE, 10)
    shutil.rmtree(folders.folder / "m" / "2")
    folders.poll()
    poll(lambda: folders.states()[2] == END, 10)
    assert folders.answer() == 3


def test_the_folders_are_polled_periodically(make_folders: Callable[..., VersionFolders]) -> None:
    folders = make_folders(poll_seconds=0.05)
    folders.add("m", 1)
    folders.start(m="")
    folders.reconciler.watch()
    folders.add("m", 2)
    poll(lambda: folders.answer() == 2, 20)
    assert folders.reconciler.stop(10)
    with pytest.raises(ServingError):
        folders.answer()
