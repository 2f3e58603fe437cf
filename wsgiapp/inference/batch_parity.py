"""`BatchParity`: which versions of a model answer a batch as they answer its rows one by one."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import gevent
import numpy as np

from wsgiapp.backend.interface import Backend, Inputs, Target
from wsgiapp.errors import InternalError, InvalidArgument, RequestError, Unimplemented
from wsgiapp.inference import rows
from wsgiapp.inference.rows import Padding
from wsgiapp.tfserving.tensors import Arrays

log = logging.getLogger(__name__)

# By how much a batched answer may differ: relative to the largest value of an output, or, where all are below 1, in
# absolute terms. A dtype that resolves less may differ by one step.
TOLERANCE = 1e-5
# For each call of a verification.
CALL_SECONDS = 10.0
# Before a verification that came to no result, such as of a model server that is full, is repeated; each time twice as
# long, up to the limit.
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
# Before a result is looked at again: it belongs to the files of a version, which may have been replaced in place.
CONFIRM_SECONDS = 60.0


class BatchParity:
    """Asks each version in the background, by the pipeline's example inputs, and now and then again.

    No call tells that the files of a version were replaced. A model server that is not reached, or does not know a
    version, may come back with other ones, so that nothing is taken for verified then; any other replacement is found
    out within `CONFIRM_SECONDS`.
    """

    def __init__(
        self, backend: Backend, target: Target, examples: Callable[[], Sequence[Arrays]], padding: Padding
    ) -> None:
        self._backend = backend
        self._target = target
        self._examples = examples
        self._padding = padding
        self._verified: dict[int, bool] = {}
        self._not_before: dict[int, float] = {}  # when a version may be asked
        self._tries: dict[int, int] = {}  # without a result
        self._forgotten = 0

    def is_verified(self, version: int | None) -> bool:
        """Whether the version was found to answer batches as single requests."""
        return version is not None and self._verified.get(version, False)

    def verify_soon(self, version: int) -> None:
        """Verify the version in the background, unless that was done of late, or is under way."""
        if time.monotonic() >= self._not_before.get(version, 0.0):
            self._not_before[version] = time.monotonic() + 10 * CALL_SECONDS
            gevent.spawn(self._verify, version, self._forgotten)

    def forget(self, version: int | None = None) -> None:
        """Take a version, or all, for verified no more: what it answers with may be other files by now."""
        self._forgotten += 1
        for known in (self._verified, self._not_before):
            if version is None:
                known.clear()
            else:
                known.pop(version, None)

    def _verify(self, version: int, forgotten: int) -> None:
        try:
            mismatch = self._mismatch(replace(self._target, version=version, label=""))
        except RequestError as exc:
            tries = self._tries[version] = self._tries.get(version, 0) + 1
            log.info("%s version %d: batch parity not verified yet (%s)", self._target.model, version, exc)
            self._not_before[version] = time.monotonic() + min(RETRY_SECONDS * 2 ** (tries - 1), MAX_RETRY_SECONDS)
            return
        if forgotten != self._forgotten:
            return
        self._tries.pop(version, None)
        self._not_before[version] = time.monotonic() + CONFIRM_SECONDS
        if self._verified.get(version) == (not mismatch):
            return
        self._verified[version] = not mismatch
        if mismatch:
            log.warning("%s version %d is sent one request at a time: %s", self._target.model, version, mismatch)
        else:
            log.info("%s version %d: batch parity verified", self._target.model, version)

    def _mismatch(self, target: Target) -> str:
        """What keeps the version from being batched; empty when nothing does."""
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
            return f"it rejects its pipeline's examples ({_first_line(exc)})"
        try:
            together = self._answers(target, rows.join(examples, self._padding))
        except (InvalidArgument, Unimplemented) as exc:
            return f"it does not answer a batch ({_first_line(exc)})"
        try:
            batched = rows.split(together, [form.rows for form in forms])
        except InternalError as exc:
            return f"it does not answer a batch ({_first_line(exc)})"
        for single, part in zip(singles, batched, strict=True):
            for name, alone in single.items():
                if name not in part or not _is_close(alone, part[name]):
                    return f"in a batch its output {name} differs from the one for a single request"
        return ""

    def _answers(self, target: Target, inputs: Inputs) -> Arrays:
        return self._backend.predict(target, inputs, time.monotonic() + CALL_SECONDS)[0]


def _first_line(exc: RequestError) -> str:
    """TensorFlow goes on with the places in its graph."""
    return str(exc).partition("\n")[0]


def _is_close(alone: np.ndarray, batched: np.ndarray) -> bool:
    if alone.shape != batched.shape or alone.dtype != batched.dtype:
        return False
    if alone.dtype.kind not in "fc":
        return bool(np.array_equal(alone, batched))
    tolerance = max(TOLERANCE, float(np.finfo(alone.dtype).eps))
    largest = float(np.abs(alone[np.isfinite(alone)]).max(initial=1.0))
    return bool(np.allclose(batched, alone, rtol=0, atol=tolerance * largest, equal_nan=True))
