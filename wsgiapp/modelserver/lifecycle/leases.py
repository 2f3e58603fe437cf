"""Which version answers a call, and what clients may know of the models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.loader import Loader, Retired
from wsgiapp.modelserver.lifecycle.model_table import ModelTable
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, Model, Version
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import ModelSpec, ModelVersionStatus


class Leases:
    """Leases AVAILABLE versions to calls, and answers which there are."""

    def __init__(self, table: ModelTable, loader: Loader) -> None:
        self._table = table
        self._loader = loader

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[tuple[int, Servable]]:
        """The version number and servable that `spec` asks for; it stays loaded for the body. Raises `ServingError`."""
        with self._table.lock:
            version = self._find(spec)
            loaded = version.loaded
            assert loaded is not None and loaded.servable is not None, "an AVAILABLE version has one"  # noqa: S101
            loaded.users += 1
        try:
            yield version.number, loaded.servable
        finally:
            with self._table.lock:
                loaded.users -= 1
                last_out = loaded.retired and loaded.users == 0
            if last_out:
                self._loader.close_unused([Retired(spec.name, version, loaded)])

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """The states of a model's versions, newest first. Raises `ServingError` for what is not there."""
        with self._table.lock:
            model = self._table.find(spec.name)
            versions = model.versions if model else {}
            number = _asked_version(spec, model) if model or spec.HasField("version") else None
            if number is None and model and versions:
                return [version.status() for version in model.newest_first()]
            if number is None:
                reason = f": {model.base_path_error}" if model and model.base_path_error else ""
                problem = texts.NO_VERSIONS_OF_MODEL.format(name=spec.name)
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"{problem}{reason}")
            if number not in versions:
                problem = texts.NO_VERSION_OF_MODEL.format(version=number, name=spec.name)
                raise ServingError(grpc.StatusCode.NOT_FOUND, problem)
            return [versions[number].status()]

    def availability(self) -> dict[str, bool]:
        """Each configured model, and whether a version of it is AVAILABLE."""
        with self._table.lock:
            return {name: bool(model.available()) for name, model in self._table.configured()}

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener`, without any lock held, after whatever may change `availability`."""
        self._table.subscribe(listener)

    def is_configured(self, name: str) -> bool:
        """Whether the active configuration has such a model, loaded or not."""
        with self._table.lock:
            return self._table.find_configured(name) is not None

    def labels(self, name: str) -> dict[str, int]:
        """The versions behind a model's labels; none for a model that is not configured."""
        with self._table.lock:
            model = self._table.find_configured(name)
            return dict(model.config.labels) if model else {}

    def available(self, name: str) -> set[int]:
        """A model's AVAILABLE versions; none for a model that is not configured."""
        with self._table.lock:
            model = self._table.find_configured(name)
            return model.available() if model else set()

    def _find(self, spec: ModelSpec) -> Version:
        """The AVAILABLE version that `spec` asks for. Under the lock."""
        if not spec.name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, texts.NO_MODEL_NAME)
        model = self._table.find(spec.name)
        asked = _asked_version(spec, model)
        for version in model.newest_first() if model else ():
            if version.state == AVAILABLE and asked in (None, version.number):
                return version
        request = (texts.LATEST if asked is None else texts.SPECIFIC).format(name=spec.name, version=asked)
        raise ServingError(grpc.StatusCode.NOT_FOUND, texts.SERVABLE_NOT_FOUND.format(request=request))


def _asked_version(spec: ModelSpec, model: Model | None) -> int | None:
    """The version number in `spec`, or behind its label; `None` asks for the newest. Under the lock.

    Raises `ServingError` for a label that the model, or a model that is not there, does not have.
    """
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        return int(spec.version.value)
    if choice == "version_label":
        labels = model.config.labels if model else {}
        if spec.version_label not in labels:
            problem = texts.UNKNOWN_LABEL.format(label=spec.version_label)
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, problem)
        return labels[spec.version_label]
    return None
