"""Predictions share calls where that is known to change nothing; by a made-up model server, and by the real one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import gevent
import numpy as np
import pytest
from prometheus_client import REGISTRY

from support.lexicon import give_lexicon
from support.processes import REPOSITORY, SUPPORT, Process, free_port, python_module
from wsgiapp.backend.interface import Target
from wsgiapp.errors import DeadlineExceeded, InternalError, InvalidArgument, NotFound, RequestError, Unavailable
from wsgiapp.inference.batch_parity import BatchParity
from wsgiapp.inference.batcher import BatchLimits
from wsgiapp.inference.rows import Arrays
from wsgiapp.inference.shared_calls import Served, SharedCalls

TARGET = Target("sums")
PADDING = {"ids": 0}
BATCHED_CHILD = SUPPORT / "batched_child.py"


class Sums:
    """A model server whose model sums each row up, times the version; of the versions in `mixing`, all rows.

    Its answers say by which version they are. A row that holds -1 is rejected.
    """

    def __init__(self) -> None:
        self.newest = 1
        self.labels: dict[str, int] = {}
        self.mixing: set[int] = set()
        self.down = False
        self.broken = False
        self.gone: set[int] = set()
        self.calls: list[tuple[Target, Arrays]] = []

    def predict(self, target: Target, inputs: Arrays, deadline: float) -> tuple[dict[str, np.ndarray], int]:
        assert deadline > time.monotonic()
        version = target.version or self.labels.get(target.label, self.newest)
        self.calls.append((target, inputs))
        gevent.sleep(0)
        if self.down:
            raise Unavailable("down")
        if version in self.gone:
            raise NotFound(f"Servable not found for request: Specific(sums, {version})")
        if self.broken:
            raise InternalError("a device error")
        if (inputs["ids"] < 0).any():
            raise InvalidArgument("a row holds -1")
        sums = inputs["ids"].sum(1) * version
        return {"sum": np.full_like(sums, sums.sum()) if version in self.mixing else sums}, version

    def counts(self) -> list[int]:
        """The rows of each call since the last time."""
        seen = [len(inputs["ids"]) for _, inputs in self.calls]
        self.calls.clear()
        return seen


def ids(*rows: list[int]) -> Arrays:
    return {"ids": np.array(rows, np.int64)}


EXAMPLES = (ids([1]), ids([2, 3, 4]))


class Site:
    """Shared calls over a model server, under a name of their own in the metrics."""

    def __init__(self, name: str, batching: bool = True, size: int = 64) -> None:
        self.name = name
        self.server = Sums()
        self.parity = BatchParity(self.server, TARGET, lambda: EXAMPLES, PADDING) if batching else None
        self.calls = SharedCalls(name, self.server, self.parity, BatchLimits(size), PADDING)

    def known(self, target: Target = TARGET) -> "Site":
        """Itself, after the version that answers for `target` was asked."""
        self.predict(ids([0]), target)
        settle()
        self.server.counts()
        return self

    def predict(self, inputs: Arrays, target: Target = TARGET) -> Served:
        return self.calls.predict(target, inputs, time.monotonic() + 30)

    def predict_all(self, *requests: Arrays, target: Target = TARGET) -> list[Served]:
        """All at the same moment."""
        waiting = [gevent.spawn(self.predict, inputs, target) for inputs in requests]
        gevent.joinall(waiting, timeout=30, raise_error=True)
        return [each.value for each in waiting]

    def metric(self, name: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": self.name}) or 0.0


def settle() -> None:
    for _ in range(20):
        gevent.sleep(0)


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    return Site(request.node.name)


def sums(answers: list[Served]) -> list[list[int]]:
    return [each.outputs["sum"].tolist() for each in answers]


FOUR = [ids([1]), ids([2, 3]), ids([4, 5, 6]), ids([7])]
SUMS_OF_FOUR = [[1], [5], [15], [7]]


def test_single_calls_until_the_version_is_known_and_batches_after_that(site: Site) -> None:
    answers = site.predict_all(*FOUR)
    assert sums(answers) == SUMS_OF_FOUR
    assert {(each.rows, each.queue_seconds) for each in answers} == {(1, 0.0)}
    settle()
    assert sorted(site.server.counts()) == [1, 1, 1, 1, 1, 1, 2], "those, the examples, and the examples together"
    answers = site.predict_all(*FOUR)
    assert sums(answers) == SUMS_OF_FOUR
    assert {(each.rows, each.version) for each in answers} == {(4, 1)}
    assert site.server.counts() == [4]


def test_greenlets_share_calls_also_where_gevent_has_patched_threads() -> None:
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "from test_shared_calls import FOUR, Site\n"
        "site = Site('patched').known(); site.predict_all(*FOUR); print(site.server.counts())"
    )
    env = {**os.environ, "PYTHONPATH": str(SUPPORT.parent)}
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, capture_output=True, text=True)
    assert done.stdout == "[4]\n", done.stderr


def test_requests_of_several_rows(site: Site) -> None:
    answers = site.known().predict_all(ids([1, 1], [2, 2]), ids([3]), ids([4, 0, 0], [5, 0, 0], [6, 0, 0]))
    assert sums(answers) == [[2, 4], [3], [4, 5, 6]]
    assert site.server.counts() == [6]
    assert {each.rows for each in answers} == {6}


def test_no_call_has_more_rows_than_it_may(request: pytest.FixtureRequest) -> None:
    site = Site(request.node.name, size=3).known()
    assert sums(site.predict_all(*(ids([i]) for i in range(10)))) == [[i] for i in range(10)]
    assert site.server.counts() == [3, 3, 3, 1]


def test_switched_off(request: pytest.FixtureRequest) -> None:
    site = Site(request.node.name, batching=False).known()
    answers = site.predict_all(*FOUR)
    assert sums(answers) == SUMS_OF_FOUR
    assert site.server.counts() == [1, 1, 1, 1]


def test_a_slow_model_that_is_called_alone_leaves_the_others_the_model_server_s_threads() -> None:
    slow = Slow()
    calls = SharedCalls("slow", slow, None, BatchLimits(), PADDING, max_single_calls=3)
    row = {"ids": np.ones((1, 1), np.int64)}
    in_flight = [gevent.spawn(calls.predict, TARGET, row, time.monotonic() + 30) for _ in range(9)]
    gevent.sleep(0.01)
    late = gevent.spawn(calls.predict, TARGET, row, time.monotonic() + 0.01)
    gone = gevent.spawn(calls.predict, TARGET, row, time.monotonic() + 30)
    with pytest.raises(DeadlineExceeded, match="waited for its turn"):
        late.get(timeout=10)
    gone.kill()
    slow.answers.set()
    gevent.joinall(in_flight, timeout=10, raise_error=True)
    assert (slow.count, slow.max_inflight) == (9, 3)
    assert all(each.value.queue_seconds > 0 for each in in_flight[3:]), "the wait is told as such"


class Slow(Sums):
    """Answers nobody before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = gevent.event.Event()
        self.inflight = self.max_inflight = self.count = 0

    def predict(self, target: Target, inputs: Arrays, deadline: float) -> tuple[dict[str, np.ndarray], int]:
        self.count += 1
        self.inflight += 1
        self.max_inflight = max(self.max_inflight, self.inflight)
        self.answers.wait()
        self.inflight -= 1
        return super().predict(target, inputs, deadline)


def test_a_version_that_mixes_rows_is_called_one_by_one(site: Site) -> None:
    site.server.mixing = {1}
    assert sums(site.known().predict_all(*FOUR)) == SUMS_OF_FOUR
    assert site.server.counts() == [1, 1, 1, 1]


@pytest.mark.parametrize("mixes", [True, False], ids=["that mixes rows", "that is sound"])
def test_a_new_version_is_called_one_by_one_until_it_is_known(site: Site, mixes: bool) -> None:
    """The batch is under way when nobody knows yet that another version answers."""
    site.known().server.newest = 2
    site.server.mixing = {2} if mixes else set()
    answers = site.predict_all(*FOUR)
    assert sums(answers) == [[2 * each for each in row] for row in SUMS_OF_FOUR], "each by itself, by the new version"
    assert {each.version for each in answers} == {2}
    settle()
    assert site.server.counts()[:5] == [4, 1, 1, 1, 1]
    answers = site.predict_all(*FOUR)
    assert sums(answers) == [[2 * each for each in row] for row in SUMS_OF_FOUR]
    assert site.server.counts() == ([1, 1, 1, 1] if mixes else [4])


def test_going_back_to_a_version_that_is_known(site: Site) -> None:
    site.known().server.newest = 2
    site.server.mixing = {2}
    site.known().server.newest = 1
    assert site.predict(ids([5])).version == 1
    site.server.counts()
    assert sums(site.predict_all(*FOUR)) == SUMS_OF_FOUR
    assert site.server.counts() == [4], "it is not asked again"


def test_targets_never_share_a_call(site: Site) -> None:
    stable, newest = Target("sums", label="stable"), Target("sums")
    site.server.labels, site.server.newest = {"stable": 1}, 2
    site.known(stable).known(newest)
    waiting = [gevent.spawn(site.predict, inputs, target) for inputs in FOUR for target in (stable, newest)]
    gevent.joinall(waiting, raise_error=True)
    answers = [each.value for each in waiting]
    assert sums(answers[::2]) == SUMS_OF_FOUR and {each.version for each in answers[::2]} == {1}
    assert sums(answers[1::2]) == [[2 * each for each in row] for row in SUMS_OF_FOUR]
    assert sorted((target.label, len(inputs["ids"])) for target, inputs in site.server.calls) == [
        ("", 4),
        ("stable", 4),
    ]


def test_layouts_never_share_a_call(site: Site) -> None:
    other = {"ids": np.array([[9]], np.int32)}
    answers = site.known().predict_all(ids([1]), other, ids([2]), other)
    assert sums(answers) == [[1], [9], [2], [9]]
    assert [inputs["ids"].dtype for _, inputs in site.server.calls] == [np.int64, np.int32]


def test_inputs_without_a_row_each_are_called_alone(site: Site) -> None:
    odd = {**ids([1, 2]), "option": np.float32(1)}
    answers = site.known().predict_all(odd, odd)
    assert sums(answers) == [[3], [3]]
    assert site.server.counts() == [1, 1]


def test_a_bad_row_fails_alone(site: Site) -> None:
    site.known()
    waiting = [gevent.spawn(outcome, site, inputs) for inputs in [*FOUR, ids([-1])]]
    gevent.joinall(waiting, timeout=30)
    *good, bad = (each.value for each in waiting)
    assert sums(good) == SUMS_OF_FOUR
    assert isinstance(bad, InvalidArgument)


def test_a_model_that_fails_every_call_is_called_twice_a_batch(site: Site) -> None:
    site.known().server.broken = True
    waiting = [gevent.spawn(outcome, site, ids([number])) for number in range(64)]
    gevent.joinall(waiting, timeout=30)
    assert {(type(each.value), str(each.value)) for each in waiting} == {(InternalError, "a device error")}
    assert site.server.counts() == [64, 1], "the second call is an example of the pipeline"


def test_a_good_row_among_many_bad_ones_is_answered(site: Site) -> None:
    site.known()
    waiting = [gevent.spawn(outcome, site, inputs) for inputs in [*[ids([-1])] * 63, ids([7])]]
    gevent.joinall(waiting, timeout=30)
    *bad, good = (each.value for each in waiting)
    assert sums([good]) == [[7]]
    assert {type(each) for each in bad} == {InvalidArgument}


@pytest.mark.parametrize(
    "gone", [Target("sums", version=9), Target("sums", label="unloaded")], ids=["version", "label"]
)
def test_asking_for_what_is_not_there_does_not_stop_batching(site: Site, gone: Target) -> None:
    site.known()
    site.server.labels["unloaded"] = 9
    site.server.gone = {9}
    with pytest.raises(NotFound):
        site.predict(ids([1]), gone)
    assert sums(site.predict_all(*FOUR)) == SUMS_OF_FOUR
    assert 4 in site.server.counts()


def test_a_model_server_that_is_down_is_down_for_all(site: Site) -> None:
    site.known().server.down = True
    waiting = [gevent.spawn(outcome, site, inputs) for inputs in FOUR]
    gevent.joinall(waiting, timeout=30)
    assert [type(each.value) for each in waiting] == [Unavailable] * 4
    assert site.server.counts() == [4], "and is not asked again for each"


def test_the_row_counts_are_counted(site: Site) -> None:
    site.known()
    calls, rows = (site.metric(f"wsgiapp_batch_rows_{each}") for each in ("count", "sum"))
    waits = site.metric("wsgiapp_queue_seconds_count")
    site.predict_all(ids([1], [2]), ids([3]), ids([4]))
    assert site.metric("wsgiapp_batch_rows_count") - calls == 1
    assert site.metric("wsgiapp_batch_rows_sum") - rows == 4
    assert site.metric("wsgiapp_queue_seconds_count") - waits == 1, "the oldest's wait stands for its call"


def test_what_is_remembered_of_targets_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsgiapp.inference.shared_calls.MAX_TARGETS", 3)
    for version in range(1, 9):
        assert site.predict(ids([1]), Target("sums", version=version)).version == version
    assert len(site.calls._versions) <= 3


def outcome(site: Site, inputs: Arrays) -> Served | RequestError:
    try:
        return site.predict(inputs)
    except RequestError as exc:
        return exc


@pytest.fixture(scope="module")
def lstm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built-in model server with the trained demo model."""
    model = Path(os.environ.get("WSGIAPP_HOME", REPOSITORY / "var")) / "models/lstm"
    assert (model / "1/saved_model.pb").exists(), f"no demo model in {model}; `make models` trains it"
    folder = tmp_path_factory.mktemp("lstm")
    port = free_port()
    command = python_module(
        "wsgiapp.modelserver", f"--port={port}", "--host=127.0.0.1", "--model_name=lstm", f"--model_base_path={model}"
    )
    with Process(command, folder / "log", KERAS_HOME=str(folder)) as process:
        process.wait_until(lambda: "serving gRPC" in process.output)
        yield f"127.0.0.1:{port}"


def test_two_thousand_texts_at_once_are_answered_as_one_by_one(lstm_server: str, tmp_path: Path) -> None:
    """A trained model behind the real server; every answer of a batch is that of the text alone."""
    (tmp_path / "wsgiapp.toml").write_text(
        '[models.lstm]\npipeline = "segmented_text"\n[limits]\ninflight = 2000\nqueue_seconds = 60.0\n'
    )
    give_lexicon(tmp_path)
    done = subprocess.run(
        [sys.executable, str(BATCHED_CHILD)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("WSGIAPP_")},
            "WSGIAPP_CONF": str(tmp_path),
            "WSGIAPP_HOME": str(tmp_path),
            "WSGIAPP_BACKEND_ADDRESS": lstm_server,
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "scripts")]),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen: Mapping[str, float] = json.loads(done.stdout)
    assert seen["texts"] == 2000 and seen["different"] > 1900
    assert seen["max_difference"] < 1e-5
    assert seen["other_labels"] == 0
    assert seen["rows_alone"] == 1
    assert seen["in_batches"] > 1900, "of the texts, that shared a call"
    assert seen["mean_rows"] > 8
