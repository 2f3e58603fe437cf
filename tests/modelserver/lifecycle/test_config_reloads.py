"""One configuration after the other, with a loader that reads a number from a file instead of a SavedModel."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from support.processes import poll
from support.version_folders import ALL, VersionFolders, labels, spec, specific, wait
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.threads import WaitDeadline
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, END, LOADING, UNLOADING

INVALID, NOT_AVAILABLE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


def rejected(loaded: VersionFolders, code: grpc.StatusCode, message: str, **models: str) -> None:
    """A reload that fails and changes nothing."""
    before, seen = loaded.reloads.config, {name: loaded.states(name) for name in ("a", "b")}
    with pytest.raises(ServingError) as caught:
        loaded.reload(**models)
    assert caught.value.code is code
    assert message in str(caught.value)
    assert loaded.reloads.config == before
    assert {name: loaded.states(name) for name in ("a", "b")} == seen
    assert loaded.answer("a", label="stable") == 1


def test_a_reload_replaces_the_whole_list(loaded: VersionFolders) -> None:
    loaded.reload(b="", new="")
    assert (loaded.answer("b"), loaded.answer("new")) == (1, 2)
    poll(lambda: loaded.states("a") == {1: END, 2: END}, 10)
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(a\)"):
        loaded.answer("a")
    with pytest.raises(ServingError, match="Unrecognized servable version label: stable"):
        loaded.answer("a", label="stable")
    assert [each.name for each in loaded.reloads.config.model_config_list.config] == ["b", "new"]
    assert loaded.leases.availability() == {"b": True, "new": True}
    loaded.reload(a="")
    assert loaded.answer("a") == 2


def test_an_empty_list_unloads_all(loaded: VersionFolders) -> None:
    loaded.reload()
    assert loaded.leases.availability() == {}


def test_a_model_left_out_ends_its_calls_first(loaded: VersionFolders) -> None:
    with loaded.leases.lease(spec("b")) as (_, servable):
        loaded.reload(a=ALL)
        assert loaded.states("b") == {1: UNLOADING}
        assert servable.run({}, [])[0] == 1
        loaded.reload(a=ALL, b="")  # again, while the old one is still in use
        assert servable.run({}, [])[0] == 1
        assert loaded.states("b") == {1: AVAILABLE}, "it did not have to be loaded again"
    assert loaded.answer("b") == 1
    with loaded.leases.lease(spec("b")) as (_, servable):
        loaded.reload(a=ALL)
        loaded.add("b", 1, "102")
        loaded.reload(a=ALL, b="")
        assert loaded.answer("b") == 102
        assert servable.run({}, [])[0] == 1
    poll(lambda: servable.closed, 10)  # type: ignore[attr-defined]
    assert loaded.answer("b") == 102


def test_a_model_that_stays_is_not_loaded_again(loaded: VersionFolders) -> None:
    loads = len(loaded.loads)
    loaded.reload(a=ALL + labels(stable=1), b="", new="")
    assert [path.parent.name for path in loaded.loads[loads:]] == ["new"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"base_path": "a"}, "to have an absolute path or URI"),
        ({"base_path": "gs://bucket/a"}, "is a URI"),
        ({"model_platform": "caffe"}, "Illegal to change a model's platform. For model a platform was tensorflow"),
        ({"model_platform": ""}, "Illegal setting neither ModelServerConfig::model_type"),
        ({"name": "b"}, "Illegal to list model b multiple times in config list"),
        ({"name": ""}, "has no name"),
    ],
)
def test_an_invalid_configuration_changes_nothing(loaded: VersionFolders, config: dict[str, str], message: str) -> None:
    wrong = loaded.config(a="", b="")
    for field, value in config.items():
        setattr(wrong.model_config_list.config[0], field, value)
    before = loaded.reloads.config
    with pytest.raises(ServingError, match=message.replace(".", r"\.")) as caught:
        loaded.reloads.reload(wrong, wait())
    assert caught.value.code is INVALID
    assert loaded.reloads.config == before
    assert loaded.answer("a", label="stable") == 1


def test_labels_need_an_available_version(loaded: VersionFolders) -> None:
    text = "Request to assign label to version {} of model {}, which is not currently available for inference"
    rejected(loaded, NOT_AVAILABLE, text.format(9, "a"), a=ALL + labels(stable=9), b="")
    rejected(loaded, NOT_AVAILABLE, text.format(9, "new"), a=ALL + labels(stable=1), b="", new=labels(stable=9))
    rejected(
        loaded, NOT_AVAILABLE, "model_version_policy does not ask for", a=ALL, b="", new=specific(2) + labels(stable=1)
    )
    rejected(loaded, NOT_AVAILABLE, "model_version_policy does not ask for", a=specific(2) + labels(stable=1), b="")
    rejected(loaded, NOT_AVAILABLE, "base path cannot be read", a=ALL, b="", nowhere=labels(stable=1))
    (loaded.folder / "a" / "3").mkdir()
    rejected(loaded, NOT_AVAILABLE, "there is no saved_model.pb", a=ALL + labels(stable=3), b="")
    loaded.add("new", 3, "three")
    rejected(loaded, NOT_AVAILABLE, "three", a=ALL, b="", new=ALL + labels(stable=3))
    with pytest.raises(ServingError, match="any versions of model new"):
        loaded.states("new")
    loaded.reload(a=ALL + labels(stable=2, old=1), b="")
    assert (loaded.answer("a", label="stable"), loaded.answer("a", label="old")) == (2, 1)


def test_a_label_moves_in_the_reload_that_adds_its_version(loaded: VersionFolders) -> None:
    """No call by label fails, and none is answered by a version that the label does not point at."""
    loaded.reload(a=specific(1) + labels(stable=1), b="")
    poll(lambda: loaded.states("a")[2] == END, 10)
    loaded.close_gate("a")
    with ThreadPoolExecutor() as threads:
        reload = threads.submit(loaded.reload, a=specific(2) + labels(stable=2), b="", new=labels(first=1) + ALL)
        poll(lambda: loaded.states("a")[2] == LOADING, 10)
        assert loaded.answer("a", label="stable") == 1
        assert loaded.answer("b") == 1
        loaded.poll()  # the poller meanwhile
        loaded.open_gates()
        poll(lambda: loaded.answer("a", label="stable") == 2, 10)
        reload.result(10)
    poll(lambda: loaded.states("a") == {1: END, 2: AVAILABLE}, 10)
    assert loaded.answer("new", label="first") == 1


def test_a_label_whose_version_fails_leaves_all_as_it_was(loaded: VersionFolders) -> None:
    loaded.add("b", 2, "two")
    loads = len(loaded.loads)
    with pytest.raises(ServingError, match="two") as caught:
        loaded.reload(a=ALL, b=specific(2) + labels(stable=2))
    assert caught.value.code is NOT_AVAILABLE
    assert len(loaded.loads) == loads + 1
    assert loaded.answer("b") == 1
    assert loaded.answer("a", label="stable") == 1
    loaded.poll()
    assert loaded.states("b")[1] == AVAILABLE


def test_a_version_loaded_for_a_label_that_was_rejected_is_unloaded(loaded: VersionFolders) -> None:
    loaded.add("b", 2)
    loaded.reload(a=ALL + labels(stable=1), b=specific(1))
    with pytest.raises(ServingError, match="version 9 of model new"):
        loaded.reload(a=ALL, b=ALL + labels(canary=2), new=labels(stable=9))
    poll(lambda: loaded.states("b").get(2, END) == END and loaded.states("b")[1] == AVAILABLE, 10)


def test_labels_on_versions_that_are_not_available(make_folders: Callable[..., VersionFolders]) -> None:
    loaded = make_folders(allow_unavailable=True)
    loaded.add("a", 1)
    loaded.start(a=ALL + labels(stable=1))
    loaded.reload(a=ALL + labels(stable=1, canary=2))
    with pytest.raises(ServingError, match=r"Specific\(a, 2\)"):
        loaded.answer("a", label="canary")
    with pytest.raises(ServingError, match="Request to assign label to version 2 of model a"):
        loaded.reload(a=ALL + labels(stable=2))
    loaded.add("a", 2)
    loaded.poll()
    assert loaded.answer("a", label="canary") == 2


def test_labels_at_the_start(make_folders: Callable[..., VersionFolders]) -> None:
    loaded = make_folders()
    loaded.add("a", 1)
    with pytest.raises(ServingError, match="Request to assign label to version 2 of model a"):
        loaded.start(a=labels(stable=2))
    loaded.start(a=labels(stable=1), nowhere=labels(stable=1))
    assert loaded.answer("a", label="stable") == 1


def test_a_model_that_cannot_load_is_reported_and_affects_no_other(loaded: VersionFolders) -> None:
    loaded.add("bad", 1, "one")
    with pytest.raises(ServingError) as caught:
        loaded.reload(a=ALL + labels(stable=2), b="", bad="", nowhere="", new="")
    assert caught.value.code is grpc.StatusCode.UNKNOWN
    assert "2 model(s) did not become available: {{{name: bad version: 1} due to error: " in str(caught.value)
    assert "Could not find base path" in str(caught.value)
    assert (loaded.answer("new"), loaded.answer("b"), loaded.answer("a", label="stable")) == (2, 1, 2)
    assert [each.name for each in loaded.reloads.config.model_config_list.config] == [
        "a",
        "b",
        "bad",
        "nowhere",
        "new",
    ]
    attempts = loaded.loads.count(loaded.folder / "bad" / "1")
    loaded.reload(a=ALL, b="", bad="")  # what does not change is not waited for, but is tried again
    poll(lambda: loaded.loads.count(loaded.folder / "bad" / "1") > attempts, 10)
    loaded.add("bad", 1)
    loaded.poll()
    assert loaded.answer("bad") == 1


def test_a_model_whose_load_hangs_does_not_keep_the_next_reload(loaded: VersionFolders) -> None:
    loaded.add("hangs", 1)
    loaded.close_gate("hangs")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(loaded.reload, a=ALL, b="", hangs="")
        poll(lambda: "hangs" in loaded.leases.availability(), 10)
        loaded.reload(a=ALL, b="", new="")
        assert loaded.answer("new") == 2
        with pytest.raises(ServingError, match="replaced by a later reload") as caught:
            first.result(10)
    assert caught.value.code is grpc.StatusCode.ABORTED


def test_the_wait_for_a_model_has_an_end(loaded: VersionFolders) -> None:
    loaded.add("hangs", 1)
    loaded.close_gate("hangs")
    with pytest.raises(ServingError, match="still loading: version 1 of model hangs") as caught:
        loaded.reload(0.2, a=ALL, b="", hangs="")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert loaded.states("hangs") == {1: LOADING}
    loaded.open_gates()
    poll(lambda: loaded.answer("hangs") == 1 if loaded.states("hangs") == {1: AVAILABLE} else False, 10)


def test_reloads_take_turns(loaded: VersionFolders) -> None:
    """One that comes during another waits for it, or is rejected when its deadline has passed; none are mixed."""
    loaded.add("b", 2)
    loaded.reload(a=ALL, b=specific(1))
    loaded.close_gate("b")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(loaded.reload, a=ALL, b=specific(2) + labels(stable=2))
        poll(lambda: loaded.states("b").get(2) == LOADING, 10)
        with pytest.raises(ServingError, match="another reload is under way") as caught:
            loaded.reload(0.2, new="")
        assert caught.value.code is grpc.StatusCode.ABORTED
        second = threads.submit(loaded.reload, new="")
        time.sleep(0.1)
        assert not second.done()
        loaded.open_gates()
        first.exception(10)  # the second one may overtake its wait for models
        second.result(10)
    assert loaded.leases.availability() == {"new": True}


def test_a_caller_that_has_disconnected_waits_no_longer(loaded: VersionFolders) -> None:
    loaded.add("b", 2)
    loaded.reload(a=ALL, b=specific(1))
    loaded.close_gate("b")
    gone = threading.Event()
    with ThreadPoolExecutor() as threads:
        config = loaded.config(a=ALL, b=specific(2) + labels(stable=2))
        first = threads.submit(loaded.reloads.reload, config, WaitDeadline.after(None, lambda: not gone.is_set()))
        poll(lambda: loaded.states("b").get(2) == LOADING, 10)
        gone.set()
        assert isinstance(first.exception(10), ServingError)
    loaded.reload(a=ALL, b=specific(1), new="")
    assert loaded.answer("b") == 1


def test_too_many_reloads_are_rejected(loaded: VersionFolders) -> None:
    loaded.add("b", 2)
    loaded.reload(a=ALL, b=specific(1))
    loaded.close_gate("b")
    with ThreadPoolExecutor(max_workers=20) as threads:
        config = loaded.config(a=ALL, b=specific(2) + labels(stable=2))
        running = [threads.submit(loaded.reloads.apply, config, wait()) for _ in range(10)]
        poll(lambda: sum(each.done() for each in running) == 6, 10)
        loaded.open_gates()
        outcomes = [each.exception(20) for each in running]
    assert sum(outcome is None for outcome in outcomes) == 4
    assert all("reloads are under way" in str(outcome) for outcome in outcomes if outcome)


def test_another_base_path_is_loaded_beside_the_old_one(loaded: VersionFolders) -> None:
    loaded.add("moved", 1, "101")
    moved = loaded.config(a=ALL, b="")
    moved.model_config_list.config[1].base_path = str(loaded.folder / "moved")
    loaded.reloads.reload(moved, wait())
    assert loaded.answer("b") == 101
