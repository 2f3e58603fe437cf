"""The life of versions, with a loader that reads a number from a file instead of a SavedModel."""

import gc
import logging
import shutil
import threading
import time
import weakref
from collections.abc import Callable

import grpc
import pytest

from support.processes import poll
from support.version_folders import ALL, Shelf, labels, patience, spec, specific
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.tfserving.messages import ModelVersionStatus

START, LOADING, AVAILABLE = ModelVersionStatus.START, ModelVersionStatus.LOADING, ModelVersionStatus.AVAILABLE
UNLOADING, END = ModelVersionStatus.UNLOADING, ModelVersionStatus.END


@pytest.fixture
def shelf(make_shelf: Callable[..., Shelf]) -> Shelf:
    """One model `m` with one version."""
    made = make_shelf()
    made.add("m", 1)
    made.start(m="")
    return made


def test_start_loads_what_is_there(shelf: Shelf) -> None:
    assert shelf.states() == {1: AVAILABLE}
    assert shelf.answer() == 1


def test_the_old_version_serves_until_the_new_one_is_available(shelf: Shelf) -> None:
    shelf.close_gate("m")
    shelf.add("m", 2)
    shelf.look()
    poll(lambda: shelf.states() == {1: AVAILABLE, 2: LOADING}, 10)
    assert shelf.answer() == 1
    shelf.open_gates()
    poll(lambda: shelf.states() == {1: END, 2: AVAILABLE}, 10)
    assert shelf.answer() == 2
    with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
        shelf.answer(version=1)


def test_a_version_in_use_is_closed_after_its_last_user(shelf: Shelf) -> None:
    with shelf.manager.lease(spec()) as (version, servable):
        shelf.add("m", 2)
        shelf.look()
        assert (version, shelf.states()) == (1, {1: UNLOADING, 2: AVAILABLE})
        assert servable.run({}, [])[0] == 1
        assert shelf.answer() == 2
    poll(lambda: shelf.states()[1] == END, 10)
    assert servable.closed  # type: ignore[attr-defined]


def test_a_removed_version_gives_way_to_the_one_before(shelf: Shelf) -> None:
    shutil.rmtree(shelf.add("m", 2))
    shelf.add("m", 2)
    shelf.look()
    shutil.rmtree(shelf.folder / "m" / "2")
    shelf.look()
    poll(lambda: shelf.states() == {1: AVAILABLE, 2: END}, 10)
    assert shelf.answer() == 1


def test_a_missing_base_path_touches_only_its_own_model(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf()
    shelf.add("m", 1)
    shelf.add("n", 1)
    shelf.start(m="", n="", never="")
    (shelf.folder / "m").rename(shelf.folder / "away")
    shelf.add("n", 2)
    shelf.look()
    assert (shelf.answer("m"), shelf.answer("n")) == (1, 2)
    with pytest.raises(ServingError, match="any versions of model never: Could not find base path"):
        shelf.states("never")
    shelf.add("never", 3)
    shelf.look()
    assert shelf.answer("never") == 3


def test_an_empty_base_path_unloads(shelf: Shelf) -> None:
    shutil.rmtree(shelf.folder / "m" / "1")
    shelf.look()
    poll(lambda: shelf.states() == {1: END}, 10)
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        shelf.answer()
    shelf.add("m", 1)
    shelf.look()
    assert shelf.answer() == 1


def test_a_version_that_is_being_copied_is_left_alone(shelf: Shelf) -> None:
    for size in range(1, 6):
        shelf.add("m", 2, "2" * size)
        shelf.manager.look()
    assert len(shelf.loads) == 1
    shelf.add("m", 2)
    shelf.look()
    assert shelf.answer() == 2


def test_a_version_without_its_model_file_is_waited_for(shelf: Shelf) -> None:
    (shelf.folder / "m" / "2" / "variables").mkdir(parents=True)
    shelf.look()
    assert shelf.states() == {1: AVAILABLE, 2: START}
    assert "there is no saved_model.pb" in shelf.error(2)
    assert len(shelf.loads) == 1
    shutil.rmtree(shelf.folder / "m" / "2")
    shelf.look()
    assert shelf.states() == {1: AVAILABLE}
    shelf.add("m", 2)
    shelf.look()
    assert (shelf.answer(), shelf.error(2)) == (2, "")


def test_at_start_a_whole_version_is_preferred_to_a_newer_half_one(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf()
    shelf.add("m", 1)
    (shelf.folder / "m" / "2").mkdir()
    shelf.start(m="")
    assert (shelf.answer(), shelf.states()) == (1, {1: AVAILABLE, 2: START})


def test_a_version_that_fails_is_tried_again_as_soon_as_its_files_settled(
    make_shelf: Callable[..., Shelf],
) -> None:
    shelf = make_shelf(longest_pause=60.0)
    shelf.add("m", 1)
    shelf.start(m="")
    shelf.add("m", 2, "tw")
    shelf.look()
    assert shelf.states() == {1: AVAILABLE, 2: END}
    assert "tw" in shelf.error(2)
    assert shelf.answer() == 1
    attempts = len(shelf.loads)
    shelf.add("m", 2, "two")  # still being copied
    shelf.manager.look()
    assert len(shelf.loads) == attempts
    shelf.add("m", 2, "202")
    shelf.look()
    assert shelf.answer() == 202


def test_retries_end(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(most=2, longest_pause=0.05)
    shelf.add("m", 1, "one")
    shelf.start(m="")
    poll(lambda: shelf.manager.look() or len(shelf.loads) == 3, 10)
    time.sleep(0.2)
    shelf.look()
    assert len(shelf.loads) == 3, "one attempt and two more"
    assert "one" in shelf.error(1)
    shelf.reload(m="")  # names it again
    poll(lambda: len(shelf.loads) > 3, 10)
    shelf.add("m", 1)
    shelf.look()
    assert shelf.answer() == 1


def test_retries_need_no_look_at_the_folders(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(most=1, longest_pause=0.01)
    shelf.add("m", 1, "one")
    shelf.start(m="")
    shelf.manager.watch()  # with poll_seconds=0
    poll(lambda: len(shelf.loads) == 2, 20)


@pytest.mark.parametrize("gap", [False, True], ids=["at once", "seen half"])
def test_files_replaced_in_place_are_loaded_beside_the_old_ones(shelf: Shelf, gap: bool) -> None:
    shutil.rmtree(shelf.folder / "m" / "1")
    if gap:
        (shelf.folder / "m" / "1").mkdir()
        shelf.look()
        assert shelf.answer() == 1
    shelf.close_gate("m")
    shelf.add("m", 1, "101")
    shelf.look()
    poll(lambda: len(shelf.loads) == 2, 10)
    assert shelf.answer() == 1
    assert shelf.states() == {1: AVAILABLE}
    with shelf.manager.lease(spec()) as (_, old):
        shelf.open_gates()
        poll(lambda: shelf.answer() == 101, 10)
        assert old.run({}, [])[0] == 1
    poll(lambda: old.closed, 10)  # type: ignore[attr-defined]
    assert shelf.states() == {1: AVAILABLE}


def test_bad_files_in_place_leave_the_old_ones_and_say_why(shelf: Shelf) -> None:
    shelf.add("m", 1, "one")
    shelf.look()
    assert (shelf.answer(), shelf.states()) == (1, {1: AVAILABLE})
    assert "one" in shelf.error(1)
    shelf.add("m", 1, "103")
    shelf.look()
    assert (shelf.answer(), shelf.error(1)) == (103, "")


def test_a_load_that_hangs_keeps_nobody_waiting(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf()
    shelf.add("hangs", 1)
    shelf.close_gate("hangs")
    shelf.add("m", 1)
    shelf.reloads.start(shelf.config(hangs="", m=""))
    assert not shelf.manager.wait_for_attempts(patience(0.1))
    poll(lambda: shelf.states() == {1: AVAILABLE}, 10)
    shelf.add("m", 2)
    shelf.look()
    poll(lambda: shelf.answer() == 2, 10)
    assert shelf.states("hangs") == {1: LOADING}
    assert shelf.manager.availability() == {"hangs": False, "m": True}
    started = time.monotonic()
    assert not shelf.manager.stop(0.2), "a load was left behind"
    assert time.monotonic() - started < 5


def test_a_close_that_hangs_keeps_nobody_waiting(shelf: Shelf) -> None:
    gate = threading.Event()
    with shelf.manager.lease(spec()) as (_, servable):
        servable.close = lambda: gate.wait(30)  # type: ignore[method-assign]
        shelf.add("m", 2)
        shelf.look()
    assert shelf.answer() == 2
    assert shelf.states() == {1: UNLOADING, 2: AVAILABLE}
    gate.set()
    poll(lambda: shelf.states()[1] == END, 10)


def test_policies(make_shelf: Callable[..., Shelf], caplog: pytest.LogCaptureFixture) -> None:
    shelf = make_shelf()
    for name in ("newest", "two", "all", "some"):
        for version in (1, 2, 3):
            shelf.add(name, version)
    two = "model_version_policy { latest { num_versions: 2 } }"
    shelf.start(newest="", two=two, all=ALL, some=specific(1, 3, 8, 9))
    assert {name: set(shelf.states(name)) for name in ("newest", "two", "all", "some")} == {
        "newest": {3},
        "two": {2, 3},
        "all": {1, 2, 3},
        "some": {1, 3},
    }
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        shelf.look()
    assert not caplog.records, "a missing specific version is warned of once"


def test_labels_and_what_is_unknown(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(labels_ahead=True)
    shelf.add("m", 1)
    shelf.add("m", 2)
    shelf.start(m=ALL + labels(stable=1, ahead=9))
    assert (shelf.answer(), shelf.answer(label="stable")) == (2, 1)
    for choice, code, text in (
        ({"label": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
        ({"label": "ahead"}, grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Specific(m, 9)"),
        ({"version": 7}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
    ):
        with pytest.raises(ServingError) as caught:
            shelf.answer(**choice)
        assert (caught.value.code, str(caught.value)) == (code, text)
    with pytest.raises(ServingError, match="Could not find any versions of model nosuch"):
        shelf.states("nosuch")
    with pytest.raises(ServingError, match="Could not find version 7 of model m"):
        shelf.error(7)


def test_a_label_keeps_its_version(make_shelf: Callable[..., Shelf]) -> None:
    """A newer version is loaded beside it, and the old one goes with the label, or with its files."""
    shelf = make_shelf()
    shelf.add("m", 1)
    shelf.start(m=labels(stable=1))
    shelf.add("m", 2)
    shelf.look()
    poll(lambda: shelf.states() == {1: AVAILABLE, 2: AVAILABLE}, 10)
    shelf.look()
    assert (shelf.answer(), shelf.answer(label="stable")) == (2, 1)
    shelf.reload(m=labels(stable=2))
    poll(lambda: shelf.states() == {1: END, 2: AVAILABLE}, 10)
    shelf.add("m", 3)
    shelf.look()
    poll(lambda: shelf.states()[3] == AVAILABLE, 10)
    shutil.rmtree(shelf.folder / "m" / "2")
    shelf.look()
    poll(lambda: shelf.states()[2] == END, 10)
    assert shelf.answer() == 3


def test_the_poller_looks_by_itself(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(poll_seconds=0.05)
    shelf.add("m", 1)
    shelf.start(m="")
    shelf.manager.watch()
    shelf.add("m", 2)
    poll(lambda: shelf.answer() == 2, 20)
    assert shelf.manager.stop(10)
    with pytest.raises(ServingError):
        shelf.answer()


def test_listeners_learn_of_each_change(shelf: Shelf) -> None:
    seen: list[dict[str, bool]] = []
    shelf.manager.subscribe(lambda: seen.append(shelf.manager.availability()))
    shelf.add("n", 1)
    shelf.reload(m="", n="")
    assert seen[-1] == {"m": True, "n": True}
    shutil.rmtree(shelf.folder / "n" / "1")
    shelf.look()
    poll(lambda: seen[-1] == {"m": True, "n": False}, 10)


def test_an_unloaded_servable_is_kept_alive_by_nobody(shelf: Shelf) -> None:
    with shelf.manager.lease(spec()) as (_, servable):
        first = weakref.ref(servable)
    del servable
    shelf.add("m", 1, "one")
    shelf.look()  # an attempt that failed beside it
    shelf.add("m", 1, "102")
    shelf.look()
    with shelf.manager.lease(spec()) as (_, servable):
        second = weakref.ref(servable)
    del servable
    shelf.add("m", 3)
    shelf.look()
    poll(lambda: shelf.states() == {1: END, 3: AVAILABLE}, 10)
    poll(lambda: gc.collect() >= 0 and first() is None and second() is None, 10)


def test_nobody_gets_a_closed_version(shelf: Shelf) -> None:
    """Calls from many threads while versions come and go."""
    stop, failures, answers = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                answers.append(shelf.answer())
                time.sleep(0)
            except Exception as exc:
                failures.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 12):
        shelf.add("m", version)
        shelf.look()
    shelf.add("m", 11, "1101")
    shelf.look()
    poll(lambda: answers and answers[-1] == 1101, 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
