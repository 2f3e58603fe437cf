"""The life of versions, with a loader that reads a number from a file instead of a SavedModel."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import numpy as np
import pytest

from support import poll
from wsgiapp.modelconfig import ModelConfig
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.manager import Manager
from wsgiapp.protos import ModelSpec, ModelVersionStatus, SignatureDef

AVAILABLE, LOADING, END = ModelVersionStatus.AVAILABLE, ModelVersionStatus.LOADING, ModelVersionStatus.END
UNLOADING = ModelVersionStatus.UNLOADING


class Number:
    """A servable that answers its number until it is closed."""

    signatures: Mapping[str, SignatureDef] = {}

    def __init__(self, path: Path) -> None:
        self.number = int((path / "number").read_text())
        self.closed = False

    def predict(self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: object = ()) -> dict:
        assert not self.closed
        return {"number": np.array(self.number)}

    def signature(self, name: str) -> SignatureDef:
        return SignatureDef()

    def close(self) -> None:
        self.closed = True


class Shelf:
    """A base path, the manager that watches it, and a gate that loading waits at."""

    def __init__(self, base_path: Path, **policy: object) -> None:
        self.base_path = base_path
        self.gate = threading.Event()
        self.gate.set()
        self.loads: list[Path] = []
        config = ModelConfig("m", base_path, **policy)  # type: ignore[arg-type]
        self.manager = Manager({"m": config}, self.load, poll_seconds=0, longest_retry_seconds=0.2)

    def load(self, path: Path) -> Number:
        self.loads.append(path)
        assert self.gate.wait(30)
        return Number(path)

    def add(self, version: int, number: str = "") -> None:
        folder = self.base_path / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "number").write_text(number or str(version))

    def look(self) -> None:
        """As often as it takes to find new versions settled."""
        self.manager.look()
        for load in self.manager.look():
            if self.gate.is_set():
                load.result(30)
        self.manager.look()

    def answer(self, **choice: object) -> float:
        with self.manager.lease(spec(**choice)) as (version, servable):
            assert servable.predict("", {})["number"] == version
            return version

    def states(self) -> dict[int, int]:
        return {each.version: each.state for each in self.manager.status(spec())}


def spec(version: int | None = None, label: str = "") -> ModelSpec:
    made = ModelSpec(name="m")
    if version is not None:
        made.version.value = version
    elif label:
        made.version_label = label
    return made


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "m")
    made.add(1)
    made.manager.start()
    yield made
    made.gate.set()
    made.manager.stop()


def test_start_loads_what_is_there(shelf: Shelf) -> None:
    assert shelf.states() == {1: AVAILABLE}
    assert shelf.answer() == 1


def test_the_old_version_serves_until_the_new_one_is_available(shelf: Shelf) -> None:
    shelf.gate.clear()
    shelf.add(2)
    shelf.look()
    poll(lambda: shelf.states() == {1: AVAILABLE, 2: LOADING}, 10)
    assert shelf.answer() == 1
    shelf.gate.set()
    poll(lambda: shelf.states()[2] == AVAILABLE, 10)
    assert shelf.answer() == 2
    assert shelf.answer(version=1) == 1
    shelf.manager.look()
    assert shelf.states() == {1: END, 2: AVAILABLE}
    with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
        shelf.answer(version=1)


def test_a_version_in_use_is_closed_by_its_last_user(shelf: Shelf) -> None:
    with shelf.manager.lease(spec()) as (version, servable):
        shelf.add(2)
        shelf.look()
        assert (version, shelf.states()) == (1, {1: UNLOADING, 2: AVAILABLE})
        assert servable.predict("", {})["number"] == 1
        assert shelf.answer() == 2
    assert shelf.states()[1] == END
    assert isinstance(servable, Number) and servable.closed


def test_a_removed_version_gives_way_to_the_one_before(shelf: Shelf) -> None:
    shelf.add(2)
    shelf.look()
    (shelf.base_path / "2" / "number").unlink()
    (shelf.base_path / "2").rmdir()
    shelf.look()
    shelf.look()
    assert shelf.states() == {1: AVAILABLE, 2: END}
    assert shelf.answer() == 1


def test_a_missing_base_path_leaves_what_serves(shelf: Shelf) -> None:
    shelf.base_path.rename(shelf.base_path.with_name("away"))
    shelf.look()
    assert shelf.answer() == 1


def test_a_version_that_is_being_copied_is_left_alone(shelf: Shelf) -> None:
    for size in range(1, 6):
        shelf.add(2, "2" * size)
        shelf.manager.look()
    assert len(shelf.loads) == 1
    shelf.add(2)
    shelf.look()
    assert shelf.answer() == 2


def test_a_version_that_fails_says_why_and_is_tried_again(shelf: Shelf) -> None:
    shelf.add(2, "two")
    shelf.look()
    poll(lambda: shelf.states() == {1: AVAILABLE, 2: END}, 10)
    status = shelf.manager.status(spec(version=2))[0].status
    assert "two" in status.error_message and status.error_code != 0
    assert shelf.answer() == 1
    attempts = len(shelf.loads)
    shelf.manager.look()
    assert len(shelf.loads) == attempts, "tried again without a pause"
    poll(lambda: shelf.manager.look() or len(shelf.loads) > attempts, 10)
    shelf.add(2)  # mended: found without a pause
    shelf.look()
    poll(lambda: shelf.states()[2] == AVAILABLE, 10)
    assert shelf.answer() == 2


def test_labels_and_what_is_unknown(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "m", latest=0, labels={"stable": 1, "ahead": 9})
    shelf.add(1)
    shelf.add(2)
    shelf.manager.start()
    assert (shelf.answer(), shelf.answer(label="stable")) == (2, 1)
    for choice, code, text in (
        ({"label": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
        ({"label": "ahead"}, grpc.StatusCode.NOT_FOUND, r"Servable not found for request: Specific(m, 9)"),
        ({"version": 7}, grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(m, 7)"),
    ):
        with pytest.raises(ServingError) as caught:
            shelf.answer(**choice)
        assert (caught.value.code, str(caught.value)) == (code, text)
    for asked in (ModelSpec(name="nosuch"), spec(version=7)):
        with pytest.raises(ServingError, match="Could not find any versions of"):
            shelf.manager.status(asked)
    shelf.manager.stop()


def test_the_poller_looks_by_itself(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "m")
    shelf.add(1)
    manager = Manager({"m": ModelConfig("m", shelf.base_path)}, Number, poll_seconds=0.05, longest_retry_seconds=1)
    manager.start()
    shelf.add(2)

    def newest() -> int:
        with manager.lease(spec()) as (version, _):
            return version

    poll(lambda: newest() == 2, 20)
    manager.stop()
    with pytest.raises(ServingError):
        newest()


def test_nobody_gets_a_closed_version(tmp_path: Path) -> None:
    """Calls from many threads while versions come and go."""
    shelf = Shelf(tmp_path / "m")
    shelf.add(1)
    shelf.manager.start()
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
        shelf.add(version)
        shelf.look()
    poll(lambda: answers and answers[-1] == 11, 20)
    stop.set()
    for thread in threads:
        thread.join()
    shelf.manager.stop()
    assert not failures
    assert sorted(set(answers))[-1] == 11
