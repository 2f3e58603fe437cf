"""`Agreement`: which versions of a model answer a batch as they answer its rows one by one."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import gevent
import numpy as np

from wsgiapp import rows
from wsgiapp.backend import Target
from wsgiapp.errors import InternalError, InvalidArgument, RequestError, ResourceExhausted, Unimplemented
from wsgiapp.rows import Arrays, Joined, Padding

log = logging.getLogger(__name__)

# By how much a batched answer may differ: relative to the largest value of an output, or, where all are below 1, in
# absolute terms. A dtype that resolves less may differ by one step.
TOLERANCE = 1e-5
# For each call of a check, and before a check that found no model server is made again.
CALL_SECONDS = 10.0
RETRY_SECONDS = 1.0


class Backend(Protocol):
    """What is needed of a model server: `backend.ModelServer`, or a few lines in a test."""

    def predict(self, target: Target, inputs: Joined, deadline: float) -> tuple[dict[str, np.ndarray], int]: ...


class Agreement:
    """Asks each version once, in the background, by the pipeline's example inputs."""

    def __init__(
        self, backend: Backend, target: Target, examples: Callable[[], Sequence[Arrays]], padding: Padding
    ) -> None:
        self._backend = backend
        self._target = target
        self._examples = examples
        self._padding = padding
        self._verdicts: dict[int, bool] = {}
        self._not_before: dict[int, float] = {}  # of versions that are being asked, or could not be

    def holds(self, version: int | None) -> bool:
        """Whether the version is known to agree; `learn` is how it gets known."""
        return version is not None and self._verdicts.get(version, False)

    def learn(self, version: int) -> None:
        """Have the version asked, unless that was done, or is under way."""
        if version not in self._verdicts and time.monotonic() >= self._not_before.get(version, 0.0):
            self._not_before[version] = time.monotonic() + 10 * CALL_SECONDS
            gevent.spawn(self._ask, version)

    def _ask(self, version: int) -> None:
        try:
            objection = self._objection(replace(self._target, version=version, label=""))
        except RequestError as exc:
            log.info("%s version %d: batching not checked yet (%s)", self._target.model, version, exc)
            self._not_before[version] = time.monotonic() + RETRY_SECONDS
            return
        self._verdicts[version] = not objection
        self._not_before.pop(version, None)
        if objection:
            log.warning("%s version %d is sent one request at a time: %s", self._target.model, version, objection)
        else:
            log.info("%s version %d: batched and single answers agree", self._target.model, version)

    def _objection(self, target: Target) -> str:
        """Why the version must not be batched; empty when it may."""
        try:
            examples = self._examples()
        except Exception as exc:
            log.exception("the examples of %s's pipeline", self._target.model)
            return f"its pipeline fails to give examples ({exc!r})"
        if len(examples) < 2:
            return "its pipeline gives no examples to compare batched with single answers"
        forms = [rows.form(example, self._padding) for example in examples]
        if len({form.layout for form in forms}) > 1 or not all(form.rows for form in forms):
            return "its pipeline's examples do not fit into one call"
        try:
            singles = [self._answers(target, example) for example in examples]
        except (InvalidArgument, Unimplemented) as exc:
            return f"it refuses its pipeline's examples ({_first_line(exc)})"
        try:
            together = self._answers(target, rows.join(examples, self._padding))
            batched = rows.split(together, [form.rows for form in forms])
        except (InvalidArgument, InternalError, ResourceExhausted, Unimplemented) as exc:
            return f"it does not answer a batch ({_first_line(exc)})"
        for single, part in zip(singles, batched, strict=True):
            for name, alone in single.items():
                if name not in part or not _agree(alone, part[name]):
                    return f"in a batch its output {name} differs from the one for a single request"
        return ""

    def _answers(self, target: Target, inputs: Joined) -> Arrays:
        return self._backend.predict(target, inputs, time.monotonic() + CALL_SECONDS)[0]


def _first_line(exc: RequestError) -> str:
    """TensorFlow goes on with the places in its graph."""
    return str(exc).partition("\n")[0]


def _agree(alone: np.ndarray, batched: np.ndarray) -> bool:
    if alone.shape != batched.shape or alone.dtype != batched.dtype:
        return False
    if alone.dtype.kind not in "fc":
        return bool(np.array_equal(alone, batched))
    tolerance = max(TOLERANCE, float(np.finfo(alone.dtype).eps))
    largest = float(np.abs(alone[np.isfinite(alone)]).max(initial=1.0))
    return bool(np.allclose(batched, alone, rtol=0, atol=tolerance * largest, equal_nan=True))
