"""`ControlPlane`: which models, versions and labels the model server has, and changes of them."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from gevent import get_hub

from wsgiapp.backend.interface import Backend, Target
from wsgiapp.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    RequestError,
)
from wsgiapp.management import config_edit, settings_check
from wsgiapp.management.config_changes import changes
from wsgiapp.management.config_check import Finding
from wsgiapp.management.config_transaction import CALL_SECONDS, ConfigTransaction
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.observability.audit_log import Actor, AuditLog
from wsgiapp.settings.schema import Settings
from wsgiapp.tfserving import model_config, version_dirs
from wsgiapp.tfserving.messages import ModelServerConfig, ModelVersionStatus
from wsgiapp.tfserving.model_config import ModelConfig

POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """One model: its versions' states, newest first, and the version behind each label."""

    name: str
    base_path: str
    versions: list[ModelVersionStatus]
    labels: Mapping[str, int]


class ControlPlane:
    """Tells what is loaded, and changes it.

    The operator's `models.config` in the folder of the configuration stays the one truth: a change is applied
    first, and written only when the model server has taken it. Raises one of `errors.RequestError` throughout.
    """

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self._settings = settings
        self._backend = backend
        self._file = ModelsFile(settings)
        self._audit = AuditLog(settings.logs, settings.log.max_bytes, settings.log.backups)
        self._transaction = ConfigTransaction(backend, self._file, settings.management.seconds)

    def config(self) -> ModelServerConfig:
        """The active configuration."""
        return self._transaction.active()

    def models(self) -> list[ModelOverview]:
        """All models of the active configuration."""
        return [
            ModelOverview(each.name, each.base_path, self._versions(each.name), dict(each.version_labels))
            for each in self.config().model_config_list.config
        ]

    def missing(self) -> list[str]:
        """What keeps the model server from serving all that it is configured to, one line each."""
        try:
            models = self.models()
        except RequestError as exc:
            return [str(exc)]
        return [
            f"{each.name}: no version is AVAILABLE"
            for each in models
            if not any(version.state == ModelVersionStatus.AVAILABLE for version in each.versions)
        ]

    def metrics(self) -> bytes:
        """The built-in model server's counters in Prometheus's text format."""
        return self._backend.metrics(_in(CALL_SECONDS))

    def check(self) -> list[Finding]:
        """What is wrong with `models.config`; it need not be active, nor the model server be there."""
        try:
            active = self.config()
        except RequestError:
            active = None
        return self._findings(self._file.read(), active)

    def reload(self, *, force: bool = False, actor: Actor | None = None, again: bool = False) -> list[Finding]:
        """Apply `models.config`, unless `check` finds errors in it; its findings.

        `again`: it could not be applied a moment ago, and only that it can be is news.
        """
        with self._transaction.exclusive(), self._audited(actor, "reload", again=again, force=force) as told:
            text, before = self._file.read(), self.config()
            told["changes"] = changes(before, self._file.parse(text))
            findings = self._checked(text, before, force)
            try:
                self._transaction.apply(text)
            except RequestError:
                # A model that cannot be loaded is an error, but one that leaves the others, and so the rest, active.
                if self._transaction.is_active(self._file.parse(text)):
                    self._transaction.keep(text)
                raise
            self._transaction.keep(text)
            return findings

    def replace(self, text: str, *, force: bool = False, actor: Actor | None = None) -> list[Finding]:
        """Apply another configuration, and write it to `models.config`; the old one is kept beside it.

        When it is rejected, or a model of it does not become available in time, all is as it was before; with `force`
        only when it is rejected: a model that does not become available is a finding then.
        """
        with self._transaction.exclusive(), self._audited(actor, "replace", force=force) as told:
            wanted = self._file.parse(text, where="body")
            self._file.require_known_folders(wanted)
            before = self.config()
            told["changes"] = changes(before, wanted)
            findings = self._checked(text, before, force)
            with self._transaction.all_or_nothing(before, "not applied"):
                try:
                    self._transaction.apply_noted(text)
                except RequestError as exc:
                    if not (force and self._transaction.is_active(self._file.parse(text))):
                        raise
                    findings.append(Finding(True, str(exc)))
                self._file.write(text)
            return findings

    def promote(self, model: str, version: int, label: str, *, actor: Actor | None = None) -> int | None:
        """Move a label to a version, which is loaded first where it is not; the version it was on before.

        When the version does not become AVAILABLE in time, or the label cannot be moved, all is as it was before.
        """
        asked: dict[str, Any] = {"model": model, "version": version, "label": label}
        with self._transaction.exclusive(), self._audited(actor, "promote", **asked) as told:
            before, text = self.config(), self._file.read()
            if self._file.parse(text) != before:
                raise Conflict(f"{self._file.path} has changes that are not active; check and reload it first")
            configured = self._configured(before, model)
            loading = self._with_version(text, configured, version)
            with self._transaction.all_or_nothing(before, "not promoted", Conflict):
                if loading != text:
                    self._transaction.apply_noted(loading)
                self._wait_until_available(model, version)
                promoted = config_edit.with_label(loading, model, label, version)
                told["changes"] = changes(before, self._file.parse(promoted))
                self._transaction.apply_noted(promoted)
                self._file.write(promoted)
            return configured.labels.get(label)

    def _audited(
        self, actor: Actor | None, action: str, *, again: bool = False, **what: Any
    ) -> AbstractContextManager[dict[str, Any]]:
        return self._audit.change(actor or Actor.local(), action, again=again, **what)

    def _versions(self, model: str) -> list[ModelVersionStatus]:
        try:
            return self._backend.status(Target(model), _in(CALL_SECONDS))
        except NotFound:  # configured, and nothing of it was found yet
            return []

    def _findings(self, text: str, active: ModelServerConfig | None) -> list[Finding]:
        # On a thread: a disk that is slow must not hold up the other requests of the worker.
        return get_hub().threadpool.apply(settings_check.check, (self._settings, self._file.parse(text), active))

    def _checked(self, text: str, active: ModelServerConfig, force: bool) -> list[Finding]:
        findings = self._findings(text, active)
        errors = [finding.text for finding in findings if finding.is_error]
        if errors and not force:
            raise InvalidArgument(f"not reloaded: {'; '.join(errors)}")
        return findings

    def _configured(self, config: ModelServerConfig, model: str) -> ModelConfig:
        models = model_config.models_of(config, where="the model server")
        if model not in models:
            raise NotFound(f"model {model!r} is not in models.config; there are {', '.join(models)}")
        return models[model]

    def _with_version(self, text: str, model: ModelConfig, version: int) -> str:
        """The text with a version policy that loads `version`: as it is, where it does so already."""
        loaded = {each.version for each in self._versions(model.name) if each.state == ModelVersionStatus.AVAILABLE}
        if version in loaded or (self._folders_are_here and self._is_wanted(model, version)):
            return text
        return config_edit.with_versions(text, model.name, sorted({*loaded, *model.specific, version}))

    def _is_wanted(self, model: ModelConfig, version: int) -> bool:
        try:
            found = version_dirs.find_versions(model.base_path)
        except OSError as exc:
            raise NotFound(f"base_path {model.base_path} of {model.name}: {exc.strerror}") from exc
        if version not in found:
            have = ", ".join(map(str, sorted(found))) or "none"
            raise NotFound(f"version {version} is not in {model.base_path}; there are {have}")
        return version in version_dirs.wanted_versions(model, found)

    @property
    def _folders_are_here(self) -> bool:
        """A TensorFlow Serving of the operator's may have its models on another machine."""
        return self._settings.app.backend != "external"

    def _wait_until_available(self, model: str, version: int) -> None:
        deadline = _in(self._settings.management.seconds)
        state = "unknown"
        while time.monotonic() < deadline:
            for each in self._versions(model):
                if each.version != version:
                    continue
                if each.state == ModelVersionStatus.AVAILABLE:
                    return
                if each.state == ModelVersionStatus.END and each.status.error_message:
                    raise InvalidArgument(f"version {version} cannot be loaded: {each.status.error_message}")
                state = ModelVersionStatus.State.Name(each.state)
            time.sleep(POLL_SECONDS)
        seconds = self._settings.management.seconds
        raise DeadlineExceeded(f"version {version} is not AVAILABLE after {seconds:.0f} s (state {state})")


def _in(seconds: float) -> float:
    return time.monotonic() + seconds
