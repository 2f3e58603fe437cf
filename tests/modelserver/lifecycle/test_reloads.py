"""One configuration after the other, with a loader that reads a number from a file instead of a SavedModel."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from support.processes import poll
from support.version_folders import ALL, Shelf, labels, patience, spec, specific
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.config_file import ConfigFile
from wsgiapp.modelserver.lifecycle.threads import Patience
from wsgiapp.tfserving.messages import ModelServerConfig, ModelVersionStatus

LOADING, AVAILABLE = ModelVersionStatus.LOADING, ModelVersionStatus.AVAILABLE
UNLOADING, END = ModelVersionStatus.UNLOADING, ModelVersionStatus.END

INVALID, REFUSED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
def shelf(make_shelf: Callable[..., Shelf]) -> Shelf:
    """Two models, of which `a` has versions 1 and 2, all of them loaded, and `stable` is 1; and a folder `new`."""
    made = make_shelf()
    for model, versions in (("a", (1, 2)), ("b", (1,)), ("new", (1, 2))):
        for version in versions:
            made.add(model, version)
    made.start(a=ALL + labels(stable=1), b="")
    return made


def refused(shelf: Shelf, code: grpc.StatusCode, message: str, **models: str) -> None:
    """A reload that fails and changes nothing."""
    before, seen = shelf.reloads.config, {name: shelf.states(name) for name in ("a", "b")}
    with pytest.raises(ServingError) as caught:
        shelf.reload(**models)
    assert caught.value.code is code
    assert message in str(caught.value)
    assert shelf.reloads.config == before
    assert {name: shelf.states(name) for name in ("a", "b")} == seen
    assert shelf.answer("a", label="stable") == 1


def test_a_reload_replaces_the_whole_list(shelf: Shelf) -> None:
    shelf.reload(b="", new="")
    assert (shelf.answer("b"), shelf.answer("new")) == (1, 2)
    poll(lambda: shelf.states("a") == {1: END, 2: END}, 10)
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(a\)"):
        shelf.answer("a")
    with pytest.raises(ServingError, match="Unrecognized servable version label: stable"):
        shelf.answer("a", label="stable")
    assert [each.name for each in shelf.reloads.config.model_config_list.config] == ["b", "new"]
    assert shelf.manager.availability() == {"b": True, "new": True}
    shelf.reload(a="")
    assert shelf.answer("a") == 2


def test_an_empty_list_unloads_all(shelf: Shelf) -> None:
    shelf.reload()
    assert shelf.manager.availability() == {}


def test_a_model_left_out_ends_its_calls_first(shelf: Shelf) -> None:
    with shelf.manager.lease(spec("b")) as (_, servable):
        shelf.reload(a=ALL)
        assert shelf.states("b") == {1: UNLOADING}
        assert servable.run({}, [])[0] == 1
        shelf.reload(a=ALL, b="")  # again, while the old one is still in use
        assert servable.run({}, [])[0] == 1
        assert shelf.states("b") == {1: AVAILABLE}, "it did not have to be loaded again"
    assert shelf.answer("b") == 1
    with shelf.manager.lease(spec("b")) as (_, servable):
        shelf.reload(a=ALL)
        shelf.add("b", 1, "102")
        shelf.reload(a=ALL, b="")
        assert shelf.answer("b") == 102
        assert servable.run({}, [])[0] == 1
    poll(lambda: servable.closed, 10)  # type: ignore[attr-defined]
    assert shelf.answer("b") == 102


def test_a_model_that_stays_is_not_loaded_again(shelf: Shelf) -> None:
    loads = len(shelf.loads)
    shelf.reload(a=ALL + labels(stable=1), b="", new="")
    assert [path.parent.name for path in shelf.loads[loads:]] == ["new"]


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
def test_what_is_no_configuration_changes_nothing(shelf: Shelf, config: dict[str, str], message: str) -> None:
    wrong = shelf.config(a="", b="")
    for field, value in config.items():
        setattr(wrong.model_config_list.config[0], field, value)
    before = shelf.reloads.config
    with pytest.raises(ServingError, match=message.replace(".", r"\.")) as caught:
        shelf.reloads.reload(wrong, patience())
    assert caught.value.code is INVALID
    assert shelf.reloads.config == before
    assert shelf.answer("a", label="stable") == 1


def test_labels_need_an_available_version(shelf: Shelf) -> None:
    text = "Request to assign label to version {} of model {}, which is not currently available for inference"
    refused(shelf, REFUSED, text.format(9, "a"), a=ALL + labels(stable=9), b="")
    refused(shelf, REFUSED, text.format(9, "new"), a=ALL + labels(stable=1), b="", new=labels(stable=9))
    refused(shelf, REFUSED, "model_version_policy does not ask for", a=ALL, b="", new=specific(2) + labels(stable=1))
    refused(shelf, REFUSED, "model_version_policy does not ask for", a=specific(2) + labels(stable=1), b="")
    refused(shelf, REFUSED, "base path cannot be read", a=ALL, b="", nowhere=labels(stable=1))
    (shelf.folder / "a" / "3").mkdir()
    refused(shelf, REFUSED, "there is no saved_model.pb", a=ALL + labels(stable=3), b="")
    shelf.add("new", 3, "three")
    refused(shelf, REFUSED, "three", a=ALL, b="", new=ALL + labels(stable=3))
    with pytest.raises(ServingError, match="any versions of model new"):
        shelf.states("new")
    shelf.reload(a=ALL + labels(stable=2, old=1), b="")
    assert (shelf.answer("a", label="stable"), shelf.answer("a", label="old")) == (2, 1)


def test_a_label_moves_in_the_reload_that_adds_its_version(shelf: Shelf) -> None:
    """No call by label fails, and none is answered by a version that the label does not point at."""
    shelf.reload(a=specific(1) + labels(stable=1), b="")
    poll(lambda: shelf.states("a")[2] == END, 10)
    shelf.close_gate("a")
    with ThreadPoolExecutor() as threads:
        reload = threads.submit(shelf.reload, a=specific(2) + labels(stable=2), b="", new=labels(first=1) + ALL)
        poll(lambda: shelf.states("a")[2] == LOADING, 10)
        assert shelf.answer("a", label="stable") == 1
        assert shelf.answer("b") == 1
        shelf.look()  # the poller meanwhile
        shelf.open_gates()
        poll(lambda: shelf.answer("a", label="stable") == 2, 10)
        reload.result(10)
    poll(lambda: shelf.states("a") == {1: END, 2: AVAILABLE}, 10)
    assert shelf.answer("new", label="first") == 1


def test_a_label_whose_version_fails_leaves_all_as_it_was(shelf: Shelf) -> None:
    shelf.add("b", 2, "two")
    refused_before = len(shelf.loads)
    with pytest.raises(ServingError, match="two") as caught:
        shelf.reload(a=ALL, b=specific(2) + labels(stable=2))
    assert caught.value.code is REFUSED
    assert len(shelf.loads) == refused_before + 1
    assert shelf.answer("b") == 1
    assert shelf.answer("a", label="stable") == 1
    shelf.look()
    assert shelf.states("b")[1] == AVAILABLE


def test_a_version_loaded_for_a_label_that_was_refused_is_unloaded(shelf: Shelf) -> None:
    shelf.add("b", 2)
    shelf.reload(a=ALL + labels(stable=1), b=specific(1))
    with pytest.raises(ServingError, match="version 9 of model new"):
        shelf.reload(a=ALL, b=ALL + labels(canary=2), new=labels(stable=9))
    poll(lambda: shelf.states("b").get(2, END) == END and shelf.states("b")[1] == AVAILABLE, 10)


def test_labels_ahead_of_their_versions(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf(labels_ahead=True)
    shelf.add("a", 1)
    shelf.start(a=ALL + labels(stable=1))
    shelf.reload(a=ALL + labels(stable=1, canary=2))
    with pytest.raises(ServingError, match=r"Specific\(a, 2\)"):
        shelf.answer("a", label="canary")
    with pytest.raises(ServingError, match="Request to assign label to version 2 of model a"):
        shelf.reload(a=ALL + labels(stable=2))
    shelf.add("a", 2)
    shelf.look()
    assert shelf.answer("a", label="canary") == 2


def test_labels_at_the_start(make_shelf: Callable[..., Shelf]) -> None:
    shelf = make_shelf()
    shelf.add("a", 1)
    with pytest.raises(ServingError, match="Request to assign label to version 2 of model a"):
        shelf.start(a=labels(stable=2))
    shelf.start(a=labels(stable=1), nowhere=labels(stable=1))
    assert shelf.answer("a", label="stable") == 1


def test_a_model_that_cannot_load_is_told_and_touches_no_other(shelf: Shelf) -> None:
    shelf.add("bad", 1, "one")
    with pytest.raises(ServingError) as caught:
        shelf.reload(a=ALL + labels(stable=2), b="", bad="", nowhere="", new="")
    assert caught.value.code is grpc.StatusCode.UNKNOWN
    assert "2 model(s) did not become available: {{{name: bad version: 1} due to error: " in str(caught.value)
    assert "Could not find base path" in str(caught.value)
    assert (shelf.answer("new"), shelf.answer("b"), shelf.answer("a", label="stable")) == (2, 1, 2)
    assert [each.name for each in shelf.reloads.config.model_config_list.config] == ["a", "b", "bad", "nowhere", "new"]
    attempts = shelf.loads.count(shelf.folder / "bad" / "1")
    shelf.reload(a=ALL, b="", bad="")  # what does not change plays no part, but is tried again
    poll(lambda: shelf.loads.count(shelf.folder / "bad" / "1") > attempts, 10)
    shelf.add("bad", 1)
    shelf.look()
    assert shelf.answer("bad") == 1


def test_a_model_whose_load_hangs_does_not_keep_the_next_reload(shelf: Shelf) -> None:
    shelf.add("hangs", 1)
    shelf.close_gate("hangs")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(shelf.reload, a=ALL, b="", hangs="")
        poll(lambda: "hangs" in shelf.manager.availability(), 10)
        shelf.reload(a=ALL, b="", new="")
        assert shelf.answer("new") == 2
        with pytest.raises(ServingError, match="replaced by a later reload") as caught:
            first.result(10)
    assert caught.value.code is grpc.StatusCode.ABORTED


def test_the_wait_for_a_model_has_an_end(shelf: Shelf) -> None:
    shelf.add("hangs", 1)
    shelf.close_gate("hangs")
    with pytest.raises(ServingError, match="still loading: version 1 of model hangs") as caught:
        shelf.reload(0.2, a=ALL, b="", hangs="")
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert shelf.states("hangs") == {1: LOADING}
    shelf.open_gates()
    poll(lambda: shelf.answer("hangs") == 1 if shelf.states("hangs") == {1: AVAILABLE} else False, 10)


def test_reloads_take_turns(shelf: Shelf) -> None:
    """One in the middle of another waits for it, or is refused when its time is over; none is mixed with another."""
    shelf.add("b", 2)
    shelf.reload(a=ALL, b=specific(1))
    shelf.close_gate("b")
    with ThreadPoolExecutor() as threads:
        first = threads.submit(shelf.reload, a=ALL, b=specific(2) + labels(stable=2))
        poll(lambda: shelf.states("b").get(2) == LOADING, 10)
        with pytest.raises(ServingError, match="another reload is under way") as caught:
            shelf.reload(0.2, new="")
        assert caught.value.code is grpc.StatusCode.ABORTED
        second = threads.submit(shelf.reload, new="")
        time.sleep(0.1)
        assert not second.done()
        shelf.open_gates()
        first.exception(10)  # the second one may overtake its wait for models
        second.result(10)
    assert shelf.manager.availability() == {"new": True}


def test_a_caller_that_has_gone_waits_no_longer(shelf: Shelf) -> None:
    shelf.add("b", 2)
    shelf.reload(a=ALL, b=specific(1))
    shelf.close_gate("b")
    gone = threading.Event()
    with ThreadPoolExecutor() as threads:
        config = shelf.config(a=ALL, b=specific(2) + labels(stable=2))
        first = threads.submit(shelf.reloads.reload, config, Patience.of(None, lambda: not gone.is_set()))
        poll(lambda: shelf.states("b").get(2) == LOADING, 10)
        gone.set()
        assert isinstance(first.exception(10), ServingError)
    shelf.reload(a=ALL, b=specific(1), new="")
    assert shelf.answer("b") == 1


def test_too_many_reloads_are_refused(shelf: Shelf) -> None:
    shelf.add("b", 2)
    shelf.reload(a=ALL, b=specific(1))
    shelf.close_gate("b")
    with ThreadPoolExecutor(max_workers=20) as threads:
        config = shelf.config(a=ALL, b=specific(2) + labels(stable=2))
        running = [threads.submit(shelf.reloads.apply, config, patience()) for _ in range(10)]
        poll(lambda: sum(each.done() for each in running) == 6, 10)
        shelf.open_gates()
        outcomes = [each.exception(20) for each in running]
    assert sum(outcome is None for outcome in outcomes) == 4
    assert all("reloads are under way" in str(outcome) for outcome in outcomes if outcome)


def test_another_base_path_is_loaded_beside_the_old_one(shelf: Shelf) -> None:
    shelf.add("moved", 1, "101")
    moved = shelf.config(a=ALL, b="")
    moved.model_config_list.config[1].base_path = str(shelf.folder / "moved")
    shelf.reloads.reload(moved, patience())
    assert shelf.answer("b") == 101


class TestConfigFile:
    @pytest.fixture
    def path(self, shelf: Shelf) -> Path:
        return shelf.folder / "models.config"

    @pytest.fixture
    def file(self, shelf: Shelf, path: Path) -> ConfigFile:
        return ConfigFile(path, shelf.reloads.config, shelf.reloads, 0.05)

    def test_it_is_put_in_force_when_it_changes(self, shelf: Shelf, path: Path, file: ConfigFile) -> None:
        path.write_text(str(shelf.config(b="", new="")))
        file.look()
        assert shelf.manager.wait_for_attempts(patience())
        assert shelf.answer("new") == 2
        assert "a" not in shelf.manager.availability()
        shelf.reload(a=ALL)
        file.look()
        assert set(shelf.manager.availability()) == {"a"}, "an unchanged file leaves what a call has reloaded"

    @pytest.mark.parametrize("text", ["model_config_list {", "", "model_config_list { config { name: 'x' } }"])
    def test_a_bad_one_is_told_once(
        self, shelf: Shelf, path: Path, file: ConfigFile, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = ModelServerConfig()
        before.CopyFrom(shelf.reloads.config)
        path.write_text(text)
        for _ in range(3):
            file.look()
        assert shelf.reloads.config == before
        assert len([each for each in caplog.records if "is not put in force" in each.message]) == 1
        path.unlink()
        file.look()
        assert shelf.answer("a", label="stable") == 1
        path.write_text(str(shelf.config(new="")))
        file.look()
        assert set(shelf.manager.availability()) == {"new"}

    def test_a_refused_one_is_tried_again(self, shelf: Shelf, path: Path, file: ConfigFile) -> None:
        path.write_text(str(shelf.config(a=ALL + labels(stable=3), b="")))
        file.start()
        time.sleep(0.2)
        assert shelf.answer("a", label="stable") == 1
        shelf.add("a", 3)
        poll(lambda: shelf.answer("a", label="stable") == 3, 10)
        file.stop(10)
