"""The active configuration, and how it is replaced by another one."""

import threading
from collections.abc import Mapping

import grpc

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.leases import Leases
from wsgiapp.modelserver.lifecycle.model_roots import ANYWHERE, ModelRoots
from wsgiapp.modelserver.lifecycle.outcome import Failure
from wsgiapp.modelserver.lifecycle.reconciler import Change, Reconciler
from wsgiapp.modelserver.lifecycle.threads import WaitDeadline
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, waiting_text
from wsgiapp.tfserving import model_config, texts, version_dirs
from wsgiapp.tfserving.messages import ModelServerConfig
from wsgiapp.tfserving.model_config import ModelConfig

# Under way or waiting for their turn; further ones are rejected, so that threads are left to predictions.
MAX_PENDING_RELOADS = 4


class ConfigReloads:
    """Applies one configuration after the other, never two at the same time."""

    def __init__(
        self,
        leases: Leases,
        reconciler: Reconciler,
        *,
        roots: ModelRoots = ANYWHERE,
        allow_unavailable: bool = False,
    ) -> None:
        """Base paths are below the `roots`. With `allow_unavailable` a new label may point at a version that is not
        AVAILABLE."""
        self._roots = roots
        self._leases = leases
        self._reconciler = reconciler
        self._allow_unavailable = allow_unavailable
        self._config = ModelServerConfig()
        self._places = threading.Semaphore(MAX_PENDING_RELOADS)
        self._turn = threading.Lock()

    @property
    def config(self) -> ModelServerConfig:
        """The active configuration; not to be changed."""
        return self._config

    def start(self, config: ModelServerConfig) -> None:
        """Apply the first configuration, and begin to load.

        Its labels may point at versions that are only about to be loaded. Raises `ServingError`.
        """
        models = self._models_of(config)
        for each in models.values():
            self._check_first_labels(each)
        self._commit(config, models)

    def reload(self, config: ModelServerConfig, deadline: WaitDeadline) -> None:
        """Apply a configuration, and wait until its models are loaded.

        As in TF Serving, the versions that it adds are waited for, until each is AVAILABLE or the first attempt to
        load it has failed; and what did not become available is an error (UNKNOWN), although the configuration is
        applied: a deployment script sees that a model is not up, and the other models are not affected. What was
        configured before is tried again, but not waited for, and whether it can be loaded does not matter. Raises
        `ServingError`.
        """
        outcome = self._reconciler.wait_for(self.apply(config, deadline), deadline)
        if outcome.superseded:
            raise ServingError(
                grpc.StatusCode.ABORTED,
                "the configuration was applied, and replaced by a later reload before all of its models were loaded; "
                "send it again if it shall stay",
            )
        if outcome.pending:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the configuration is applied, but still loading: {', '.join(outcome.pending)}; ask GetModelStatus "
                "for the states, or allow more time",
            )
        if outcome.failures:
            raise ServingError(grpc.StatusCode.UNKNOWN, _failure_text(outcome.failures))

    def apply(self, config: ModelServerConfig, deadline: WaitDeadline) -> Change:
        """Apply a configuration instead of the active one; what it changes.

        It waits only for versions that labels point at and that are not loaded yet: labels move when these are
        AVAILABLE, so that no label is ever without a version. Raises `ServingError`, and then all stays as it was:
        INVALID_ARGUMENT for an invalid configuration, FAILED_PRECONDITION for a label on a version that is not
        available, ABORTED when the deadline passes while other reloads are under way.
        """
        if not self._places.acquire(blocking=False):
            raise ServingError(
                grpc.StatusCode.ABORTED,
                f"{MAX_PENDING_RELOADS} reloads are under way; send this one again when they ended",
            )
        try:
            self._take_turn(deadline)
            try:
                models = self._models_of(config)
                try:
                    self._load_ahead(models, deadline)
                    return self._commit(config, models)
                finally:
                    self._reconciler.release()
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def _take_turn(self, deadline: WaitDeadline) -> None:
        while not self._turn.acquire(timeout=deadline.step):
            if deadline.has_passed:
                raise ServingError(
                    grpc.StatusCode.ABORTED,
                    "another reload is under way and waits for its models; nothing was changed: "
                    "send this one again when it has ended, or allow more time",
                )

    def _models_of(self, config: ModelServerConfig) -> dict[str, ModelConfig]:
        """The models of a message that may replace the active one. Raises `ServingError`."""
        before = {each.name: model_config.platform_of(each) for each in self._config.model_config_list.config}
        for each in config.model_config_list.config:
            platform = model_config.platform_of(each)
            if platform and before.get(each.name, platform) != platform:
                problem = texts.PLATFORM_CHANGED.format(name=each.name, old=before[each.name], new=platform)
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"{problem}; give it another name")
        try:
            models = model_config.models_of(config, where="ModelServerConfig")
        except SettingsError as exc:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(exc)) from exc
        for each in models.values():
            self._roots.check_base_path(each)
        return models

    def _commit(self, config: ModelServerConfig, models: Mapping[str, ModelConfig]) -> Change:
        copy = ModelServerConfig()
        copy.CopyFrom(config)
        self._config = copy
        return self._reconciler.put(models)

    # Labels.

    def _check_first_labels(self, config: ModelConfig) -> None:
        """Reject labels on versions that are not on the disk; those that are will be loaded, and their labels wait."""
        try:
            wanted = version_dirs.wanted_versions(config, version_dirs.find_versions(config.base_path))
        except OSError:  # its versions are not known; that affects only this model
            return
        for number in config.labels.values():
            if number not in wanted and not self._allow_unavailable:
                raise _label_error(config, number, _reason_against(config, number))

    def _load_ahead(self, models: Mapping[str, ModelConfig], deadline: WaitDeadline) -> None:
        """Load the versions that labels point at before the labels do."""
        targets = [(config, number) for config in models.values() for number in self._labels_to_await(config)]
        held = []
        for config, number in targets:
            try:
                found = version_dirs.find_versions(config.base_path)
            except OSError as exc:
                raise _label_error(config, number, f"its base path cannot be read: {exc}") from exc
            if number not in version_dirs.wanted_versions(config, found):
                raise _label_error(config, number, _reason_against(config, number))
            if not version_dirs.has_model(found[number]):
                raise _label_error(config, number, waiting_text(found[number]))
            held.append((config, self._reconciler.hold(config, number, found[number])))
        for config, version in held:
            status = self._reconciler.wait_for_held(version, deadline)
            if status.state != AVAILABLE:
                reason = status.status.error_message or "it is still being loaded; allow more time"
                raise _label_error(config, version.number, reason)

    def _labels_to_await(self, config: ModelConfig) -> set[int]:
        """The versions of labels that have to be loaded before the label may point at them."""
        present = self._leases.labels(config.name)
        available = self._leases.available(config.name)
        if config.specific:
            available &= config.specific
        return {
            number
            for label, number in config.labels.items()
            if number not in available and not (self._allow_unavailable and present.get(label, number) == number)
        }


def _label_error(config: ModelConfig, number: int, reason: str) -> ServingError:
    problem = texts.LABEL_NOT_AVAILABLE.format(version=number, name=config.name)
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, f"{problem}: {reason}")


def _reason_against(config: ModelConfig, number: int) -> str:
    """Why a version that a label points at will not be loaded."""
    if (config.base_path / str(number)).is_dir():
        return "its model_version_policy does not ask for this version; add it there, or use all"
    return (
        f"there is no such version in {config.base_path}; copy it there first, take the label away, or allow it for a "
        "new label by --allow_version_labels_for_unavailable_models"
    )


def _failure_text(failures: list[Failure]) -> str:
    """In TF Serving's form."""
    models = "".join(
        (texts.MODEL_NOT_AVAILABLE if each.version is None else texts.VERSION_NOT_AVAILABLE).format(
            name=each.model, version=each.version, error=each.error
        )
        for each in failures
    )
    count = len({each.model for each in failures})
    return texts.MODELS_NOT_AVAILABLE.format(count=count, models=models) + texts.APPLIED_ALL_THE_SAME
