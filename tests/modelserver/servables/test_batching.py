"""Requests that wait at the same moment share a run, and nothing else."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from support.processes import poll
from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables.batching import BatchedServable, BatchScheduler
from wsgiapp.modelserver.servables.batching_parameters import BatchingParameters
from wsgiapp.tfserving.messages import SignatureDef
from wsgiapp.tfserving.tensors import Arrays


class Gated:
    """Doubles `x`; a negative value is an error. Runs wait at a gate while it is shut."""

    signatures: Mapping[str, SignatureDef] = {}

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.runs: list[np.ndarray] = []
        self.output = lambda x: x * 2
        self.closed = False

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        self.entered.release()
        assert self.gate.wait(30)
        x = feeds["x"]
        self.runs.append(x)
        if x.dtype != object and (x < 0).any():
            raise invalid_argument(f"negative in {x.ravel().tolist()}")
        return [x if name == "x" else self.output(x) for name in fetches]

    def close(self) -> None:
        self.closed = True


class Bench:
    """A batched servable on one thread, and clients that call it from threads of their own."""

    def __init__(self, **parameters: object) -> None:
        self.servable = Gated()
        given = {"num_batch_threads": 1, "max_batch_size": 8, "max_execution_batch_size": 8, **parameters}
        self.batched = BatchedServable(self.servable, BatchScheduler(BatchingParameters(**given)))
        self.clients = ThreadPoolExecutor(32)

    def call(self, *rows: float, width: int = 0, fetches: Sequence[str] = ("y",)) -> Future:
        x = np.array(rows, np.float32)
        return self.send(np.repeat(x[:, None], width, axis=1) if width else x, fetches)

    def send(self, x: np.ndarray, fetches: Sequence[str] = ("y",)) -> Future:
        return self.clients.submit(self.batched.run, {"x": x}, fetches)

    def busy(self) -> Future:
        """Keep the one thread with a call until the gate is opened."""
        self.servable.gate.clear()
        call = self.call(0.0)
        assert self.servable.entered.acquire(timeout=30)
        return call

    def waiting(self, rows: int) -> None:
        """Wait until so many rows are enqueued."""
        scheduler = self.batched._scheduler
        poll(lambda: sum(batch.rows for batch in list(scheduler._waiting)) == rows, 30)


def values(call: Future) -> list:
    return [array.tolist() for array in call.result(30)]


def error(call: Future) -> tuple[str, str]:
    exc = call.exception(30)
    assert isinstance(exc, ServingError), exc
    return exc.code.name, str(exc)


def test_what_waits_shares_a_run_and_each_gets_its_own_rows() -> None:
    bench = Bench()
    first = bench.busy()
    calls = [bench.call(1.0), bench.call(2.0, 3.0), bench.call(4.0)]
    bench.waiting(4)
    bench.servable.gate.set()
    assert [values(call) for call in (first, *calls)] == [[[0]], [[2]], [[4, 6]], [[8]]]
    assert [sorted(run.tolist()) for run in bench.servable.runs] == [[0], [1, 2, 3, 4]]


def test_other_outputs_or_shapes_get_runs_of_their_own() -> None:
    bench = Bench()
    bench.busy()
    calls = [
        bench.call(1.0),
        bench.call(2.0, fetches=["x"]),
        bench.call(3.0, width=2),
        bench.send(np.array([5], np.int64)),
        bench.call(4.0, fetches=["y", "x", "y"]),
    ]
    bench.waiting(5)
    bench.servable.gate.set()
    assert [values(call) for call in calls] == [[[2]], [[2]], [[[6, 6]]], [[10]], [[8], [4], [8]]]
    assert len(bench.servable.runs) == 6


def test_variable_lengths_are_padded_where_that_is_allowed() -> None:
    bench = Bench(pad_variable_length_inputs=True)
    bench.busy()
    calls = [
        bench.call(1.0, width=1),
        bench.call(2.0, width=3),
        bench.send(np.array([[b"a"], [b"b"]], dtype=object), ["x"]),
    ]
    bench.waiting(4)
    bench.servable.gate.set()
    assert [values(call) for call in calls] == [[[[2, 2, 2]]], [[[4, 4, 4]]], [[[b"a"], [b"b"]]]]
    assert len(bench.servable.runs) == 3


def test_runs_have_an_allowed_size() -> None:
    bench = Bench(allowed_batch_sizes=(4, 8))
    assert values(bench.call(1.0, 2.0, 3.0)) == [[2, 4, 6]]
    assert bench.servable.runs[0].tolist() == [1, 2, 3, 1]
    assert values(bench.call(*range(5))) == [[0, 2, 4, 6, 8]]
    assert len(bench.servable.runs[1]) == 8


def test_a_full_batch_is_run_at_once_and_another_waits_for_its_time() -> None:
    bench = Bench(batch_timeout_micros=3_600_000_000)
    part = bench.call(1.0, 2.0, 3.0)
    bench.waiting(3)
    assert not part.done()
    rest = bench.call(*range(5))
    assert values(part) == [[2, 4, 6]]
    assert values(rest) == [[0, 2, 4, 6, 8]]
    bench = Bench(batch_timeout_micros=50_000)
    assert values(bench.call(1.0)) == [[2]]


def test_only_the_request_at_fault_fails() -> None:
    bench = Bench()
    bench.busy()
    calls = [bench.call(1.0), bench.call(-2.0), bench.call(3.0)]
    bench.waiting(3)
    bench.servable.gate.set()
    assert values(calls[0]) == [[2]]
    assert error(calls[1]) == ("INVALID_ARGUMENT", "negative in [-2.0]")
    assert values(calls[2]) == [[6]]


def test_an_unexpected_error_reaches_the_caller_and_the_thread_goes_on() -> None:
    bench = Bench()
    bench.servable.output = lambda x: x / None  # type: ignore[operator]
    assert isinstance(bench.call(1.0).exception(30), TypeError)
    bench.servable.output = lambda x: x
    assert values(bench.call(1.0)) == [[1]]


def test_a_full_queue_is_unavailable() -> None:
    bench = Bench(max_enqueued_batches=2)
    bench.busy()
    calls = [bench.call(*range(8))]
    bench.waiting(8)
    calls.append(bench.call(*range(7)))
    bench.waiting(15)
    assert error(bench.call(1.0, 2.0)) == (
        "UNAVAILABLE",
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2",
    )
    calls.append(bench.call(7.0))  # there is room for one row more
    other = bench.call(1.0, fetches=["x"])  # another queue
    bench.waiting(17)
    bench.servable.gate.set()
    assert [len(call.result(30)[0]) for call in (*calls, other)] == [8, 7, 1, 1]


def test_a_request_may_be_split_where_that_is_allowed() -> None:
    bench = Bench(max_batch_size=10, max_execution_batch_size=4, enable_large_batch_splitting=True)
    assert values(bench.call(*range(10))) == [[*range(0, 20, 2)]]
    assert [len(run) for run in bench.servable.runs] == [4, 4, 2]
    code, text = error(bench.call(*range(11)))
    assert (code, text) == ("INVALID_ARGUMENT", "Task size 11 is larger than maximum input batch size 10")


@pytest.mark.parametrize(
    ("feeds", "text"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.array(1.0)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": np.ones(2), "z": np.ones(3)}, "Batching Run() input tensors must have equal 0th-dimension size"),
        ({"x": np.ones(9)}, "Task size 9 is larger than maximum input batch size 8"),
    ],
)
def test_feeds_that_cannot_be_batched(feeds: Arrays, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        Bench().batched.run(feeds, ["y"])
    assert (caught.value.code, str(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, text)


def test_outputs_must_be_batches() -> None:
    bench = Bench()
    bench.servable.output = np.sum
    assert error(bench.call(1.0)) == ("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
    bench.servable.output = lambda x: x[:1]
    code, text = error(bench.call(1.0, 2.0))
    assert code == "FAILED_PRECONDITION"
    assert text.startswith("Batched output tensor's 0th dimension does not equal the sum")


def test_many_clients() -> None:
    """Whatever shares a run, each gets its own rows."""
    bench = Bench(num_batch_threads=3, allowed_batch_sizes=(1, 2, 4, 8))
    calls = {row: bench.call(*([float(row)] * (1 + row % 3))) for row in range(300)}
    for row, call in calls.items():
        assert values(call) == [[2.0 * row] * (1 + row % 3)]


def test_an_unloaded_servable_is_not_held() -> None:
    bench = Bench()
    assert values(bench.call(1.0)) == [[2]]
    bench.batched.close()
    assert bench.servable.closed
    scheduler = bench.batched._scheduler
    poll(lambda: not (scheduler._waiting or scheduler._open or scheduler._enqueued), 10)
