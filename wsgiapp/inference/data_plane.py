"""`DataPlane`: the one place where pipelines meet the model server."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import gevent

from wsgiapp.backend.interface import Backend, Target
from wsgiapp.errors import NotFound, Overloaded, RequestError
from wsgiapp.inference.admission import LARGE_COST, Admission
from wsgiapp.inference.admission_metrics import report_regularly
from wsgiapp.inference.call_options import DEFAULT, CallOptions
from wsgiapp.inference.lane import Admitted
from wsgiapp.inference.passthrough import Encode, Passthrough
from wsgiapp.inference.route import Choice, Route
from wsgiapp.pipelines.pipeline import Payload, Result
from wsgiapp.tfserving.messages import (
    ClassificationResult,
    Input,
    ModelVersionStatus,
    RegressionResult,
    SignatureDefMap,
)
from wsgiapp.tfserving.tensors import Arrays

log = logging.getLogger(__name__)

# Readiness is asked every second or so by whoever balances the load: it must not wait for a model server that hangs.
STATUS_SECONDS = 1.0
# What is asked besides predictions does not count among them; so many may be under way.
MAX_STATUS_CALLS = 64
# The JSON of a usual request that bypasses the pipelines.
USUAL_BYTES = 4096
ANY = Choice()


class Timing(NamedTuple):
    """Where a prediction's time went, in seconds, and the rows of the call it had part in."""

    preprocess: float
    queue: float
    predict: float
    postprocess: float
    rows: int


class Answer(NamedTuple):
    """A result, and who gave it: `label` is empty where none was asked for."""

    result: Result
    version: int
    label: str
    timing: Timing


class DataPlane:
    """Answers payloads for the configured models; holds what is shared by all requests of a worker."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        backend: Backend,
        passthrough: Passthrough,
        admission: Admission,
        default_deadline_seconds: float,
    ) -> None:
        """`default_deadline_seconds` holds for calls to models without a route."""
        self._routes = routes
        self._backend = backend
        self._passthrough = passthrough
        self._admission = admission
        self._room = admission.room
        self._default_deadline_seconds = default_deadline_seconds
        self._warm: set[str] = set()
        self._status_calls = 0

    @property
    def models(self) -> Mapping[str, Target]:
        """The configured models, by name."""
        return {name: route.target for name, route in self._routes.items()}

    def warm_up(self) -> None:
        """Warm every pipeline; until then `missing` names it. From now on the metrics tell of the admission."""
        gevent.spawn(report_regularly, self._admission)
        for name, route in self._routes.items():
            route.warm_up()
            self._warm.add(name)

    def catch_up(self) -> None:
        """Expect what has waited while there was no worker."""
        self._room.catch_up()

    def split_key(self, model: str) -> str | None:
        """The header by which a model's clients are told apart; empty: their address tells; `None`: they are not."""
        route = self._routes.get(model)
        return route.split_key if route and route.split else None

    def require_room(self, model: str, options: CallOptions = DEFAULT) -> None:
        """Raise `Overloaded` where one more prediction would be: before its body is parsed, which costs as much."""
        lane = self._admission.lane(model)
        if lane.inflight >= lane.limit.limit or self._room.held >= self._room.max_held:
            lane.require_room(options.seconds(self._max_seconds(model)), is_batch=options.is_batch)

    def infer(self, model: str, payload: Payload, choice: Choice = ANY, options: CallOptions = DEFAULT) -> Answer:
        """The answer of `model` to `payload`; raises one of `errors.RequestError`."""
        route = self._routes.get(model)
        if route is None:
            if not self._routes:
                raise NotFound("no model is configured for this route; add a [models.NAME] table, or use /v1/models/")
            raise NotFound(f"model {model!r} is not configured; there are {', '.join(self._routes)}")
        target = route.choose(choice)
        arrived = time.monotonic()
        seconds = route.deadline_seconds if options is DEFAULT else options.seconds(route.deadline_seconds)
        deadline = arrived + seconds
        cost = route.cost(payload)
        calls = route.calls if cost < LARGE_COST else route.large_calls
        with Admitted(self._admission.lane(model, cost), cost, deadline, options.is_batch) as started:
            prepared = route.prepare(payload, deadline)
            sent = time.monotonic()
            served = calls.predict(target, prepared.inputs, deadline)
            received = time.monotonic()
            result = route.finish(served.outputs, prepared.context, deadline)
            queued = served.queue_seconds
            queue, predict = started - arrived + queued, received - sent - queued
            timing = Timing(sent - started, queue, predict, time.monotonic() - received, served.rows)
            return Answer(result, served.version, target.label, timing)

    def predict(
        self, target: Target, encode: Encode, body_bytes: int = 0, options: CallOptions = DEFAULT
    ) -> tuple[Arrays, int]:
        """The outputs of any model of the model server, bypassing the pipelines, and the version that answered.

        `encode` makes the inputs for a signature's types; see `passthrough`. Raises one of `errors.RequestError`.
        """
        deadline = self._deadline(target, options)
        with self._admit(target, body_bytes, deadline, options):
            return self._passthrough.predict(target, encode, deadline)

    def classify(
        self, target: Target, examples: Input, body_bytes: int = 0, options: CallOptions = DEFAULT
    ) -> tuple[ClassificationResult, int]:
        """The classes of each example by any model, and the version that answered."""
        deadline = self._deadline(target, options)
        with self._admit(target, body_bytes, deadline, options):
            return self._backend.classify(target, examples, deadline)

    def regress(
        self, target: Target, examples: Input, body_bytes: int = 0, options: CallOptions = DEFAULT
    ) -> tuple[RegressionResult, int]:
        """The value of each example by any model, and the version that answered."""
        deadline = self._deadline(target, options)
        with self._admit(target, body_bytes, deadline, options):
            return self._backend.regress(target, examples, deadline)

    def metadata(self, target: Target, options: CallOptions = DEFAULT) -> tuple[SignatureDefMap, int]:
        """The signatures of any model, and the version they are of."""
        with self._status_call():
            return self._backend.metadata(target, self._deadline(target, options))

    def status(self, target: Target, options: CallOptions = DEFAULT) -> list[ModelVersionStatus]:
        """The states of any model's versions; of one where the target names a version or a label."""
        with self._status_call():
            return self._backend.status(target, self._deadline(target, options))

    def close(self) -> None:
        """Close the channel to the model server."""
        self._backend.close()

    def missing(self) -> list[str]:
        """What keeps the service from being ready, one line each; empty when it is."""
        checks = [gevent.spawn(self._checked, name, route) for name, route in self._routes.items()]
        gevent.joinall(checks)
        return [check.get() for check in checks if check.get()]

    def _max_seconds(self, model: str) -> float:
        route = self._routes.get(model)
        return route.deadline_seconds if route else self._default_deadline_seconds

    def _deadline(self, target: Target, options: CallOptions) -> float:
        return time.monotonic() + options.seconds(self._max_seconds(target.model))

    def _admit(self, target: Target, body_bytes: int, deadline: float, options: CallOptions) -> Admitted:
        cost = max(1.0, body_bytes / USUAL_BYTES)
        return Admitted(self._admission.lane(target.model, cost), cost, deadline, options.is_batch)

    @contextmanager
    def _status_call(self) -> Iterator[None]:
        if self._status_calls >= MAX_STATUS_CALLS:
            raise Overloaded(f"{self._status_calls} status calls are in flight; try again in a moment")
        self._status_calls += 1
        try:
            yield
        finally:
            self._status_calls -= 1

    def _checked(self, name: str, route: Route) -> str:
        try:
            return self._missing(name, route)
        except Exception as exc:
            log.exception("the check of model %s", name)
            return f"{name}: its check failed ({type(exc).__name__}); see the worker's log"

    def _missing(self, name: str, route: Route) -> str:
        if name not in self._warm:
            return f"{name}: its pipeline is warming up"
        for target in route.targets():
            try:
                versions = self._backend.status(target, time.monotonic() + STATUS_SECONDS)
            except RequestError as exc:
                return f"{name}: {exc}"
            if not any(version.state == ModelVersionStatus.AVAILABLE for version in versions):
                states = ", ".join(map(_state, versions))
                return f"{name}: no version is AVAILABLE ({states or 'none known'})"
        return ""


def _state(status: ModelVersionStatus) -> str:
    """A version's state, with the reason of one that could not be loaded."""
    reason = status.status.error_message
    return f"{status.version} {ModelVersionStatus.State.Name(status.state)}{reason and f': {reason}'}"
