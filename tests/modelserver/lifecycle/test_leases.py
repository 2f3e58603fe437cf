"""Versions are leased to calls, and closed after the last one."""

import shutil
import threading
import time
from collections.abc import Callable

import grpc
import pytest

from support.processes import poll
from support.version_folders import ALL, VersionFolders, labels, spec
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, END, UNLOADING


def test_a_version_in_use_is_closed_after_its_last_user(folders: VersionFolders) -> None:
    with folders.leases.lease(spec()) as (version, servable):
        folders.add("m", 2)
        folders.poll()
        assert (version, folders.states()) == (1, {1: UNLOADING, 2: AVAILABLE})
        assert servable.run({}, [])[0] == 1
        assert folders.answer() == 2
    poll(lambda: folders.states()[1] == END, 10)
    assert servable.closed  # type: ignore[attr-defined]


def test_labels_and_what_is_unknown(make_folders: Callable[..., VersionFolders]) -> None:
    folders = make_folders(allow_unavailable=True)
    folders.add("m", 1)
    folders.add("m", 2)
    folders.start(m=ALL + labels(stable=1, ahead=9))
    assert (folders.answer(), folders.answer(label="stable")) == (2, 1)
    for choice, code, text in (
        ({"label": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
        ({"label": "ahead"}, grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Specific(m, 9)"),
        ({"version": 7}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
        ({"model": "n"}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(n)"),
        ({"model": "n", "version": 1}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(n, 1)"),
        ({"model": "n", "label": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
    ):
        with pytest.raises(ServingError) as caught:
            folders.answer(**choice)
        assert (caught.value.code, str(caught.value)) == (code, text)
    with pytest.raises(ServingError, match="Could not find any versions of model nosuch"):
        folders.states("nosuch")
    with pytest.raises(ServingError, match="Could not find version 7 of model m"):
        folders.error(7)
    with pytest.raises(ServingError, match="Could not find version 7 of model nosuch"):
        folders.leases.status(spec("nosuch", 7))


def test_listeners_are_called_after_each_change(folders: VersionFolders) -> None:
    seen: list[dict[str, bool]] = []
    folders.leases.subscribe(lambda: seen.append(folders.leases.availability()))
    folders.add("n", 1)
    folders.reload(m="", n="")
    assert seen[-1] == {"m": True, "n": True}
    shutil.rmtree(folders.folder / "n" / "1")
    folders.poll()
    poll(lambda: seen[-1] == {"m": True, "n": False}, 10)


def test_no_call_gets_a_closed_version(folders: VersionFolders) -> None:
    """Calls from many threads while versions come and go."""
    stop, failures, answers = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(folders.answer())
                time.sleep(0)
            except Exception as exc:
                failures.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 12):
        folders.add("m", version)
        folders.poll()
    folders.add("m", 11, "1101")
    folders.poll()
    poll(lambda: answers and answers[-1] == 1101, 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
