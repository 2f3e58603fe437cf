"""`ControlPlane`: which models, versions and labels the model server has."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wsgiapp import modelconfig
from wsgiapp.backend import Target
from wsgiapp.errors import InternalError, NotFound, SettingsError, Unimplemented
from wsgiapp.protos import ModelServerConfig, ModelVersionStatus

CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """One model: its versions' states, newest first, and the version behind each label."""

    name: str
    versions: list[ModelVersionStatus]
    labels: Mapping[str, int]


class Backend(Protocol):
    """What is needed of a model server: `backend.ModelServer`, or a few lines in a test."""

    def config(self, deadline: float) -> ModelServerConfig: ...

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]: ...


class ControlPlane:
    """Tells what is loaded. `config_file` is what a TF Serving that keeps its configuration to itself was given."""

    def __init__(self, backend: Backend, config_file: Path) -> None:
        self._backend = backend
        self._config_file = config_file

    def config(self) -> ModelServerConfig:
        """The configuration in force. Raises one of `errors.RequestError`."""
        try:
            return self._backend.config(_soon())
        except Unimplemented:  # TF Serving itself
            try:
                return modelconfig.read(self._config_file)
            except SettingsError as exc:
                raise InternalError(f"the model server does not tell its configuration, and {exc}") from exc

    def models(self) -> list[ModelOverview]:
        """All models of the configuration in force. Raises one of `errors.RequestError`."""
        return [
            ModelOverview(each.name, self._versions(each.name), dict(each.version_labels))
            for each in self.config().model_config_list.config
        ]

    def _versions(self, model: str) -> list[ModelVersionStatus]:
        try:
            return self._backend.status(Target(model), _soon())
        except NotFound:  # configured, and nothing of it was found yet
            return []


def _soon() -> float:
    return time.monotonic() + CALL_SECONDS
