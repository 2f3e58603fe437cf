"""Versions are loaded, retried and closed, beside what serves."""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from support.processes import poll
from support.version_folders import VersionFolders, spec, wait
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, END, LOADING, UNLOADING


def test_the_old_version_serves_until_the_new_one_is_available(folders: VersionFolders) -> None:
    folders.close_gate("m")
    folders.add("m", 2)
    folders.poll()
    poll(lambda: folders.states() == {1: AVAILABLE, 2: LOADING}, 10)
    assert folders.answer() == 1
    folders.open_gates()
    poll(lambda: folders.states() == {1: END, 2: AVAILABLE}, 10)
    assert folders.answer() == 2
    with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
        folders.answer(version=1)


def test_a_version_that_fails_is_tried_again_as_soon_as_its_files_settled(
    make_folders: Callable[..., VersionFolders],
) -> None:
    folders = make_folders(max_pause=60.0)
    folders.add("m", 1)
    folders.start(m="")
    folders.add("m", 2, "tw")
    folders.poll()
    assert folders.states() == {1: AVAILABLE, 2: END}
    assert "tw" in folders.error(2)
    assert folders.answer() == 1
    attempts = len(folders.loads)
    folders.add("m", 2, "two")  # still being copied
    folders.reconciler.poll()
    assert len(folders.loads) == attempts
    folders.add("m", 2, "202")
    folders.poll()
    assert folders.answer() == 202


def test_retries_end(make_folders: Callable[..., VersionFolders]) -> None:
    folders = make_folders(max_retries=2, max_pause=0.05)
    folders.add("m", 1, "one")
    folders.start(m="")
    poll(lambda: folders.reconciler.poll() or len(folders.loads) == 3, 10)
    time.sleep(0.2)
    folders.poll()
    assert len(folders.loads) == 3, "one attempt and two more"
    assert "one" in folders.error(1)
    folders.reload(m="")  # names it again
    poll(lambda: len(folders.loads) > 3, 10)
    folders.add("m", 1)
    folders.poll()
    assert folders.answer() == 1


@pytest.mark.parametrize("gap", [False, True], ids=["at once", "seen half"])
def test_files_replaced_in_place_are_loaded_beside_the_old_ones(folders: VersionFolders, gap: bool) -> None:
    shutil.rmtree(folders.folder / "m" / "1")
    if gap:
        (folders.folder / "m" / "1").mkdir()
        folders.poll()
        assert folders.answer() == 1
    folders.close_gate("m")
    folders.add("m", 1, "101")
    folders.poll()
    poll(lambda: len(folders.loads) == 2, 10)
    assert folders.answer() == 1
    assert folders.states() == {1: AVAILABLE}
    with folders.leases.lease(spec()) as (_, old):
        folders.open_gates()
        poll(lambda: folders.answer() == 101, 10)
        assert old.run({}, [])[0] == 1
    poll(lambda: old.closed, 10)  # type: ignore[attr-defined]
    assert folders.states() == {1: AVAILABLE}


def test_bad_files_in_place_leave_the_old_ones_and_are_reported(folders: VersionFolders) -> None:
    folders.add("m", 1, "one")
    folders.poll()
    assert (folders.answer(), folders.states()) == (1, {1: AVAILABLE})
    assert "one" in folders.error(1)
    folders.add("m", 1, "103")
    folders.poll()
    assert (folders.answer(), folders.error(1)) == (103, "")


def test_a_load_that_hangs_delays_no_other(make_folders: Callable[..., VersionFolders]) -> None:
    folders = make_folders()
    folders.add("hangs", 1)
    folders.close_gate("hangs")
    folders.add("m", 1)
    folders.reloads.start(folders.config(hangs="", m=""))
    assert not folders.reconciler.wait_for_attempts(wait(0.1))
    poll(lambda: folders.states() == {1: AVAILABLE}, 10)
    folders.add("m", 2)
    folders.poll()
    poll(lambda: folders.answer() == 2, 10)
    assert folders.states("hangs") == {1: LOADING}
    assert folders.leases.availability() == {"hangs": False, "m": True}
    started = time.monotonic()
    assert not folders.reconciler.stop(0.2), "a load was left behind"
    assert time.monotonic() - started < 5


def test_a_close_that_hangs_delays_no_call(folders: VersionFolders) -> None:
    gate = threading.Event()
    with folders.leases.lease(spec()) as (_, servable):
        servable.close = lambda: gate.wait(30)  # type: ignore[method-assign]
        folders.add("m", 2)
        folders.poll()
    assert folders.answer() == 2
    assert folders.states() == {1: UNLOADING, 2: AVAILABLE}
    gate.set()
    poll(lambda: folders.states()[1] == END, 10)


def test_nothing_refers_to_an_unloaded_servable(folders: VersionFolders) -> None:
    with folders.leases.lease(spec()) as (_, servable):
        first = weakref.ref(servable)
    del servable
    folders.add("m", 1, "one")
    folders.poll()  # an attempt that failed beside it
    folders.add("m", 1, "102")
    folders.poll()
    with folders.leases.lease(spec()) as (_, servable):
        second = weakref.ref(servable)
    del servable
    folders.add("m", 3)
    folders.poll()
    poll(lambda: folders.states() == {1: END, 3: AVAILABLE}, 10)
    poll(lambda: gc.collect() >= 0 and first() is None and second() is None, 10)
