"""`DataPlane`: the one place where pipelines meet the model server."""

import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import gevent
import numpy as np

from wsgiapp import pipelines
from wsgiapp.backend import Target
from wsgiapp.errors import NotFound, Overloaded, RequestError, SettingsError
from wsgiapp.pipelines import Arrays, ImageLimits, Payload, Pipeline, Resources, Result, TextLimits
from wsgiapp.protos import ModelVersionStatus
from wsgiapp.settings import Settings

# Readiness is asked every second or so by whoever balances the load: it must not wait for a model server that hangs.
STATUS_SECONDS = 1.0


class _Route(NamedTuple):
    target: Target
    pipeline: Pipeline
    deadline_seconds: float


class Backend(Protocol):
    """What is needed of a model server: `backend.ModelServer`, or a few lines in a test."""

    def predict(self, target: Target, inputs: Arrays, deadline: float) -> tuple[dict[str, np.ndarray], int]: ...

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]: ...

    def close(self) -> None: ...


class DataPlane:
    """Answers payloads for the configured models; holds what is shared by all requests of a worker."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self._backend = backend
        self._routes = {name: _route(settings, name) for name in settings.models}
        self._max_inflight = settings.limits.inflight
        self._inflight = 0
        self._warm: set[str] = set()

    @property
    def models(self) -> Mapping[str, Target]:
        """The configured models, by name."""
        return {name: route.target for name, route in self._routes.items()}

    def warm_up(self) -> None:
        """Warm every pipeline; until then `missing` names it."""
        for name, route in self._routes.items():
            route.pipeline.warm_up()
            self._warm.add(name)

    def infer(self, model: str, payload: Payload) -> Result:
        """The answer of `model` to `payload`; raises one of `errors.RequestError`."""
        route = self._routes.get(model)
        if route is None:
            raise NotFound(f"model {model!r} is not configured; there are {', '.join(self._routes)}")
        if self._inflight >= self._max_inflight:
            raise Overloaded(f"{self._inflight} predictions are in flight; try again in a moment")
        deadline = time.monotonic() + route.deadline_seconds
        self._inflight += 1
        try:
            prepared = route.pipeline.preprocess(payload)
            outputs, _version = self._backend.predict(route.target, prepared.inputs, deadline)
            return route.pipeline.postprocess(outputs, prepared.context)
        finally:
            self._inflight -= 1

    def close(self) -> None:
        """Close the channel to the model server."""
        self._backend.close()

    def missing(self) -> list[str]:
        """What keeps the service from being ready, one line each; empty when it is."""
        checks = [gevent.spawn(self._missing, name, route) for name, route in self._routes.items()]
        gevent.joinall(checks)
        return [check.value for check in checks if check.value]

    def _missing(self, name: str, route: _Route) -> str:
        if name not in self._warm:
            return f"{name}: its pipeline is warming up"
        try:
            versions = self._backend.status(route.target, time.monotonic() + STATUS_SECONDS)
        except RequestError as exc:
            return f"{name}: {exc}"
        if any(version.state == ModelVersionStatus.AVAILABLE for version in versions):
            return ""
        states = ", ".join(f"{each.version} {ModelVersionStatus.State.Name(each.state)}" for each in versions)
        return f"{name}: no version is AVAILABLE ({states or 'none known'})"


def _route(settings: Settings, name: str) -> _Route:
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
    return _Route(target, pipeline, model.deadline_seconds)
