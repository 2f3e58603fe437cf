"""`DataPlane`: the one place where pipelines meet the model server."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import gevent
import numpy as np

from wsgiapp import pipelines
from wsgiapp.agreement import Agreement
from wsgiapp.backend import Target
from wsgiapp.batching import BatchLimits
from wsgiapp.errors import NotFound, Overloaded, RequestError, SettingsError
from wsgiapp.passthrough import Encode, Passthrough
from wsgiapp.pipelines import Arrays, ImageLimits, Payload, Prepared, Resources, Result, TextLimits
from wsgiapp.protos import ClassificationResult, Input, ModelVersionStatus, RegressionResult, SignatureDefMap
from wsgiapp.rows import Joined
from wsgiapp.settings import Settings
from wsgiapp.sharedcalls import SharedCalls
from wsgiapp.split import Split
from wsgiapp.threads import Threads

# Readiness is asked every second or so by whoever balances the load: it must not wait for a model server that hangs.
STATUS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The version or label a request asks for; with neither, the model's settings decide.

    `key` tells clients apart where they are split among labels.
    """

    version: int | None = None
    label: str = ""
    key: str = ""


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


class _Route(NamedTuple):
    target: Target
    split: Split | None
    split_key: str
    warm_up: Callable[[], None]
    preprocess: Callable[[Payload], Prepared]
    postprocess: Callable[[Arrays, Any], Result]
    calls: SharedCalls
    deadline_seconds: float

    def choose(self, choice: Choice) -> Target:
        if choice.version is not None or choice.label:
            return replace(self.target, version=choice.version, label=choice.label)
        if self.split:
            return replace(self.target, label=self.split.label(choice.key))
        return self.target

    def targets(self) -> list[Target]:
        """All that requests without a choice of their own may be sent to."""
        return [replace(self.target, label=label) for label in self.split.labels] if self.split else [self.target]


class Backend(Protocol):
    """What is needed of a model server: `backend.ModelServer`, or a few lines in a test."""

    def predict(self, target: Target, inputs: Joined, deadline: float) -> tuple[dict[str, np.ndarray], int]: ...

    def classify(self, target: Target, examples: Input, deadline: float) -> tuple[ClassificationResult, int]: ...

    def regress(self, target: Target, examples: Input, deadline: float) -> tuple[RegressionResult, int]: ...

    def metadata(self, target: Target, deadline: float) -> tuple[SignatureDefMap, int]: ...

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Count:
    limit: int
    now: int = 0

    def require_room(self) -> None:
        if self.now >= self.limit:
            raise Overloaded(f"{self.now} predictions are in flight; try again in a moment")


class _InFlight:
    """A context manager by hand: `contextlib`'s took 3% of a prediction's CPU time."""

    __slots__ = ("_count", "_seconds")

    def __init__(self, count: _Count, seconds: float) -> None:
        self._count = count
        self._seconds = seconds

    def __enter__(self) -> float:
        self._count.require_room()
        self._count.now += 1
        return time.monotonic() + self._seconds

    def __exit__(self, *exc_info: object) -> None:
        self._count.now -= 1


class DataPlane:
    """Answers payloads for the configured models; holds what is shared by all requests of a worker."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self._backend = backend
        self._passthrough = Passthrough(backend)
        threads = Threads(len(os.sched_getaffinity(0)))
        self._routes = {name: _route(settings, name, backend, threads) for name in settings.models}
        self._other_deadline_seconds = settings.backend.deadline_seconds
        self._inflight = _Count(settings.limits.inflight)
        self._warm: set[str] = set()

    @property
    def models(self) -> Mapping[str, Target]:
        """The configured models, by name."""
        return {name: route.target for name, route in self._routes.items()}

    def warm_up(self) -> None:
        """Warm every pipeline; until then `missing` names it."""
        for name, route in self._routes.items():
            route.warm_up()
            self._warm.add(name)

    def split_key(self, model: str) -> str | None:
        """The header by which a model's clients are told apart; empty: their address tells; `None`: they are not."""
        route = self._routes.get(model)
        return route.split_key if route and route.split else None

    def require_room(self) -> None:
        """Raise `Overloaded` where one more prediction would be: before its body is parsed, which costs as much."""
        self._inflight.require_room()

    def infer(self, model: str, payload: Payload, choice: Choice = Choice()) -> Answer:
        """The answer of `model` to `payload`; raises one of `errors.RequestError`."""
        route = self._routes.get(model)
        if route is None:
            if not self._routes:
                raise NotFound("no model is configured for this route; add a [models.NAME] table, or use /v1/models/")
            raise NotFound(f"model {model!r} is not configured; there are {', '.join(self._routes)}")
        target = route.choose(choice)
        with self._in_flight(model) as deadline:
            started = time.monotonic()
            prepared = route.preprocess(payload)
            sent = time.monotonic()
            served = route.calls.predict(target, prepared.inputs, deadline)
            received = time.monotonic()
            result = route.postprocess(served.outputs, prepared.context)
            queue = served.queue_seconds
            timing = Timing(sent - started, queue, received - sent - queue, time.monotonic() - received, served.rows)
            return Answer(result, served.version, target.label, timing)

    def predict(self, target: Target, encode: Encode) -> tuple[dict[str, np.ndarray], int]:
        """The outputs of any model of the model server, past all pipelines, and the version that answered.

        `encode` makes the inputs for a signature's types; see `passthrough`. Raises one of `errors.RequestError`.
        """
        with self._in_flight(target.model) as deadline:
            return self._passthrough.predict(target, encode, deadline)

    def classify(self, target: Target, examples: Input) -> tuple[ClassificationResult, int]:
        """The classes of each example by any model, and the version that answered."""
        with self._in_flight(target.model) as deadline:
            return self._backend.classify(target, examples, deadline)

    def regress(self, target: Target, examples: Input) -> tuple[RegressionResult, int]:
        """The value of each example by any model, and the version that answered."""
        with self._in_flight(target.model) as deadline:
            return self._backend.regress(target, examples, deadline)

    def metadata(self, target: Target) -> tuple[SignatureDefMap, int]:
        """The signatures of any model, and the version they are of."""
        with self._in_flight(target.model) as deadline:
            return self._backend.metadata(target, deadline)

    def status(self, target: Target) -> list[ModelVersionStatus]:
        """The states of any model's versions; of one where the target names a version or a label."""
        with self._in_flight(target.model) as deadline:
            return self._backend.status(target, deadline)

    def close(self) -> None:
        """Close the channel to the model server."""
        self._backend.close()

    def missing(self) -> list[str]:
        """What keeps the service from being ready, one line each; empty when it is."""
        checks = [gevent.spawn(self._missing, name, route) for name, route in self._routes.items()]
        gevent.joinall(checks)
        return [check.value for check in checks if check.value]

    def _in_flight(self, model: str) -> "_InFlight":
        """One of the calls that may be in flight; entering it gives its deadline."""
        route = self._routes.get(model)
        return _InFlight(self._inflight, route.deadline_seconds if route else self._other_deadline_seconds)

    def _missing(self, name: str, route: _Route) -> str:
        if name not in self._warm:
            return f"{name}: its pipeline is warming up"
        for target in route.targets():
            try:
                versions = self._backend.status(target, time.monotonic() + STATUS_SECONDS)
            except RequestError as exc:
                return f"{name}: {exc}"
            if not any(version.state == ModelVersionStatus.AVAILABLE for version in versions):
                states = ", ".join(f"{each.version} {ModelVersionStatus.State.Name(each.state)}" for each in versions)
                return f"{name}: no version is AVAILABLE ({states or 'none known'})"
        return ""


def _route(settings: Settings, name: str, backend: Backend, threads: Threads) -> _Route:
    model, limits = settings.models[name], settings.limits
    resources = Resources(
        text=TextLimits(chars=limits.text_chars, rows=limits.text_rows),
        image=ImageLimits(pixels=limits.image_pixels),
        cache=settings.cache,
    )
    try:
        pipeline = pipelines.create(model.pipeline, model.options, resources)
    except SettingsError as exc:
        raise SettingsError(f"models.{name}.{exc}") from exc
    target = Target(name, model.signature, model.version, model.label)
    split = Split(model.split) if model.split else None
    agreement = Agreement(backend, target, pipeline.examples, pipeline.padding) if model.batching else None
    batches = BatchLimits(size=model.max_batch_size, inflight=model.max_inflight)
    calls = SharedCalls(name, backend, agreement, batches, pipeline.padding)
    steps = (pipeline.preprocess, pipeline.postprocess)
    if pipeline.heavy:
        steps = (partial(threads.run, pipeline.preprocess), partial(threads.run, pipeline.postprocess))
    return _Route(target, split, model.split_key, pipeline.warm_up, *steps, calls, model.deadline_seconds)
