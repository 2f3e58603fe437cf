"""A version is batched only after it was seen to answer a batch as it answers its rows one by one."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import gevent
import numpy as np
import pytest

from wsgiapp.backend.interface import Target
from wsgiapp.errors import InternalError, InvalidArgument, NotFound, ResourceExhausted, Unavailable, Unimplemented
from wsgiapp.inference import batch_parity
from wsgiapp.inference.batch_parity import BatchParity
from wsgiapp.inference.rows import Arrays

TARGET = Target("model", "signature", label="stable")
Model = Callable[[Arrays], Mapping[str, np.ndarray]]


class Served:
    """A model server of one model, which is a function. It keeps what it was asked, and for which target."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.calls: list[tuple[Target, Arrays]] = []

    def predict(self, target: Target, inputs: Arrays, deadline: float) -> tuple[dict[str, np.ndarray], int]:
        self.calls.append((target, inputs))
        gevent.sleep(0)  # a call lets others run
        assert deadline > time.monotonic()
        return dict(self.model(inputs)), 1


def text(count: int) -> Arrays:
    return {"ids": np.arange(1, count + 1, dtype=np.float32)[np.newaxis], "nwords": np.array([count], np.int32)}


EXAMPLES: Sequence[Arrays] = (text(1), text(4), text(9))


def made(model: Model, examples: Sequence[Arrays] = EXAMPLES, **padding: float) -> tuple[BatchParity, Served]:
    server = Served(model)
    return BatchParity(server, TARGET, lambda: examples, padding or {"ids": 0.0}), server


def settle() -> None:
    """Let the check that is under way come to its end: each of its calls gives way once."""
    for _ in range(4 * len(EXAMPLES)):
        gevent.sleep(0)


def asked(model: Model, examples: Sequence[Arrays] = EXAMPLES) -> bool:
    """Whether the model is found to agree."""
    parity, _ = made(model, examples)
    parity.verify_soon(1)
    settle()
    return parity.is_verified(1)


def mean(inputs: Arrays) -> Mapping[str, np.ndarray]:
    """A sound model: the mean of each row's own steps."""
    own = np.arange(inputs["ids"].shape[1]) < inputs["nwords"][:, np.newaxis]
    return {"mean": (inputs["ids"] * own).sum(1) / inputs["nwords"]}


def mixing(inputs: Arrays) -> Mapping[str, np.ndarray]:
    """Batch normalisation that was left in training mode: each row sees the others."""
    y = mean(inputs)["mean"]
    return {"mean": (y - y.mean()) / (y.std() + 1e-3)}


def deaf_to_nwords(inputs: Arrays) -> Mapping[str, np.ndarray]:
    return {"mean": inputs["ids"].mean(1)}


def without_rows(inputs: Arrays) -> Mapping[str, np.ndarray]:
    return {**mean(inputs), "labels": np.array(["NEG", "POS"], object)}


def of_one_row(error: Exception) -> Model:
    def model(inputs: Arrays) -> Mapping[str, np.ndarray]:
        if len(inputs["nwords"]) > 1:
            raise error
        return mean(inputs)

    return model


def in_a_batch(change: Callable[[np.ndarray], np.ndarray], single: np.ndarray) -> bool:
    """Whether a model agrees whose rows are `single`, and in a batch `change` of that."""

    def model(inputs: Arrays) -> Mapping[str, np.ndarray]:
        count = len(inputs["nwords"])
        rows = np.repeat(single[np.newaxis], count, axis=0)
        return {"y": change(rows).astype(single.dtype) if count > 1 else rows}

    return asked(model)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="wsgiapp.inference.batch_parity")


def test_nothing_holds_before_it_was_learned(caplog: pytest.LogCaptureFixture) -> None:
    parity, server = made(mean)
    assert not parity.is_verified(1) and not parity.is_verified(None)
    parity.verify_soon(1)
    assert not parity.is_verified(1), "the caller does not wait for it"
    settle()
    assert parity.is_verified(1)
    assert not parity.is_verified(2) and not parity.is_verified(None)
    assert len(server.calls) == len(EXAMPLES) + 1
    assert {target for target, _ in server.calls} == {Target("model", "signature", version=1)}, "by its number alone"
    assert "model version 1: batch parity verified" in caplog.text


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (mixing, "in a batch its output mean differs from the one for a single request"),
        (deaf_to_nwords, "in a batch its output mean differs from the one for a single request"),
        (without_rows, "it does not answer a batch (the output labels has the shape [2], not a row for each of 3)"),
        (of_one_row(InvalidArgument("one row only")), "it does not answer a batch (one row only)"),
        (of_one_row(Unimplemented("never")), "it does not answer a batch (never)"),
    ],
    ids=["rows are mixed", "padding counts", "no row axis", "rejected", "unimplemented"],
)
def test_what_must_not_be_batched(model: Model, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    assert not asked(model)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == f"model version 1 is sent one request at a time: {reason}"


def test_an_output_that_only_batches_lack(caplog: pytest.LogCaptureFixture) -> None:
    def model(inputs: Arrays) -> Mapping[str, np.ndarray]:
        return mean(inputs) if len(inputs["nwords"]) > 1 else {**mean(inputs), "more": np.zeros(1)}

    assert not asked(model)
    assert "its output more differs" in caplog.text


@pytest.mark.parametrize("examples", [(), EXAMPLES[:1]], ids=["none", "one"])
def test_without_examples_nothing_is_batched(examples: Sequence[Arrays], caplog: pytest.LogCaptureFixture) -> None:
    assert not asked(mean, examples)
    assert "its pipeline gives no examples to compare" in caplog.text


@pytest.mark.parametrize(
    "examples",
    [(text(1), {**text(2), "nwords": np.array([2], np.int64)}), (text(1), {**text(2), "nwords": np.int32(2)})],
    ids=["of two layouts", "without rows"],
)
def test_examples_that_do_not_fit_into_one_call(examples: Sequence[Arrays], caplog: pytest.LogCaptureFixture) -> None:
    assert not asked(lambda inputs: {"y": np.zeros(1)}, examples)
    assert "its pipeline's examples do not fit into one call" in caplog.text


ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("single", "difference", "agrees"),
    [
        (ONES, 1e-6, True),
        (ONES, 1e-4, False),
        (ONES * np.float32(1e-3), 1e-6, True),
        (ONES * np.float32(1e-3), 1e-4, False),
        (np.array([1e4, 1.0], np.float32), 0.05, True),
        (np.array([1e4, 1.0], np.float32), 0.5, False),
        (np.array([-1e4, 0.0], np.float32), 0.05, True),
        (ONES.astype(np.float64), 1e-6, True),
        (ONES.astype(np.float64), 1e-4, False),
        (ONES.astype(np.float16), 2**-10, True),
        (ONES.astype(np.float16), 2**-8, False),
        (ONES.astype(np.complex64), 1e-6j, True),
        (ONES.astype(np.complex64), 1e-4j, False),
        (np.array([np.nan, np.inf, -np.inf, 1.0], np.float32), 1e-6, True),
        (np.array([np.nan, np.inf, -np.inf, 1.0], np.float32), 1e-4, False),
        (np.array([np.nan, np.nan], np.float32), 0.0, True),
        (np.array([1, 2], np.int64), 0, True),
        (np.array([10**9], np.int64), 1, False),
        (np.array([], np.float32), 0.0, True),
    ],
)
def test_how_much_may_differ(single: np.ndarray, difference: complex, agrees: bool) -> None:
    assert in_a_batch(lambda rows: rows + np.asarray(difference, single.dtype), single) == agrees


@pytest.mark.parametrize(
    ("single", "change", "agrees"),
    [
        (np.array([b"POS", b"\xff"], object), lambda rows: rows, True),
        (np.array([b"POS", b"\xff"], object), lambda rows: np.full_like(rows, b"NEG"), False),
        (np.array([True, False]), lambda rows: rows, True),
        (np.array([True, False]), lambda rows: ~rows, False),
        (ONES, lambda rows: np.where(np.arange(3) == 1, np.float32(np.nan), rows), False),
        (np.full(2, np.inf, np.float32), lambda rows: -rows, False),
        (np.full(2, np.nan, np.float32), lambda rows: np.ones_like(rows), False),
        (ONES, lambda rows: rows[:, :2], False),
    ],
    ids=["strings", "other strings", "booleans", "other booleans", "a NaN", "-inf", "no NaN", "another shape"],
)
def test_what_has_no_distance_must_be_equal(
    single: np.ndarray, change: Callable[[np.ndarray], np.ndarray], agrees: bool
) -> None:
    assert in_a_batch(change, single) == agrees


def test_another_dtype_is_another_answer() -> None:
    assert not asked(lambda inputs: {"y": np.ones(len(inputs["nwords"]), "f4" if len(inputs["nwords"]) > 1 else "f8")})


def test_a_row_in_a_batch_is_padded_with_what_the_pipeline_names() -> None:
    parity, server = made(mean, ids=-7.0)
    parity.verify_soon(1)
    settle()
    assert server.calls[-1][1]["ids"][0].tolist() == [1.0] + [-7.0] * 8
    assert parity.is_verified(1)


def test_each_version_is_asked_once() -> None:
    parity, server = made(mean)
    for _ in range(5):
        parity.verify_soon(1)  # also while it is being asked
        gevent.sleep(0)
    settle()
    parity.verify_soon(1)
    settle()
    assert len(server.calls) == len(EXAMPLES) + 1
    parity.verify_soon(2)
    settle()
    assert parity.is_verified(2) and len(server.calls) == 2 * (len(EXAMPLES) + 1)


def test_the_pauses_become_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_parity, "RETRY_SECONDS", 10.0)
    parity, _ = made(of_one_row(ResourceExhausted("it never fits")))
    pauses = []
    now = time.monotonic()
    clock = [now]
    monkeypatch.setattr(batch_parity.time, "monotonic", lambda: clock[0])
    for _ in range(4):
        parity.verify_soon(1)
        gevent.sleep(0)
        settle()
        pauses.append(parity._not_before[1] - clock[0])
        clock[0] = parity._not_before[1]
    assert pauses == [10.0, 20.0, 30.0, 30.0]


def test_files_that_were_replaced_in_place_are_found_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batch_parity, "CONFIRM_SECONDS", 0.05)
    parity, server = made(mean)
    parity.verify_soon(1)
    settle()
    assert parity.is_verified(1)
    server.model = mixing
    parity.verify_soon(1)
    settle()
    assert parity.is_verified(1), "not at once"
    gevent.sleep(0.06)
    parity.verify_soon(1)
    assert parity.is_verified(1), "the result stays until there is another one"
    settle()
    assert not parity.is_verified(1)
    server.model = mean
    gevent.sleep(0.06)
    parity.verify_soon(1)
    settle()
    assert parity.is_verified(1)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]


def test_what_may_have_been_replaced_is_not_taken_for_verified() -> None:
    parity, server = made(mean)
    for version in (1, 2):
        parity.verify_soon(version)
        settle()
    parity.forget(1)
    assert not parity.is_verified(1) and parity.is_verified(2)
    parity.verify_soon(2)  # forgotten while it is being asked: that was the model from before
    parity.forget()
    settle()
    assert not parity.is_verified(2)
    server.model = mixing
    parity.verify_soon(2)
    settle()
    assert not parity.is_verified(2)


def test_a_version_that_must_not_be_batched_is_not_asked_again() -> None:
    parity, server = made(mixing)
    for _ in range(3):
        parity.verify_soon(1)
        settle()
    assert len(server.calls) == len(EXAMPLES) + 1


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(batch_parity, "RETRY_SECONDS", 0.05)
    return


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(
    "error",
    [
        Unavailable("nobody is there"),
        NotFound("unloaded"),
        ResourceExhausted("out of memory"),
        InternalError("a device that was reset"),
    ],
    ids=["server", "version", "memory", "device"],
)
@pytest.mark.parametrize("alone", [True, False], ids=["at the first call", "at the batch"])
def test_who_cannot_be_asked_is_asked_later(error: Exception, alone: bool, caplog: pytest.LogCaptureFixture) -> None:
    parity, server = made(mean)

    def down(inputs: Arrays) -> Mapping[str, np.ndarray]:
        if alone or len(inputs["nwords"]) > 1:
            raise error
        return mean(inputs)

    server.model = down
    parity.verify_soon(1)
    settle()
    calls = len(server.calls)
    assert not parity.is_verified(1)
    assert f"model version 1: batch parity not verified yet ({error})" in caplog.text
    parity.verify_soon(1)
    settle()
    assert len(server.calls) == calls, "not at once"
    server.model = mean
    gevent.sleep(0.06)
    parity.verify_soon(1)
    settle()
    assert parity.is_verified(1)


@pytest.mark.usefixtures("_soon")
def test_a_version_that_rejects_the_examples_themselves_is_not_asked_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def reject(inputs: Arrays) -> Mapping[str, np.ndarray]:
        raise InvalidArgument("no such input")

    parity, server = made(reject)
    for _ in range(2):
        parity.verify_soon(1)
        settle()
        gevent.sleep(0.06)
    assert len(server.calls) == 1
    assert "is sent one request at a time: it rejects its pipeline's examples (no such input)" in caplog.text


def test_examples_that_cannot_be_made_are_a_reason_not_to_batch(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Sequence[Arrays]:
        raise KeyError("vocabulary")

    parity = BatchParity(Served(mean), TARGET, broken, {})
    parity.verify_soon(1)
    settle()
    assert not parity.is_verified(1)
    assert "its pipeline fails to give examples (KeyError('vocabulary'))" in caplog.text
