"""Which configuration is in force, and how another one takes its place."""

import threading
from collections.abc import Mapping

import grpc

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.manager import Change, Failure, Manager
from wsgiapp.modelserver.lifecycle.threads import Patience
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, waiting_text
from wsgiapp.tfserving import model_config, version_dirs
from wsgiapp.tfserving.messages import ModelServerConfig
from wsgiapp.tfserving.model_config import ModelConfig

# That wait for their turn; further ones are refused, so that they leave the server's threads to predictions.
MOST_RELOADS = 4


class Reloads:
    """Holds the configuration in force, and puts one after the other in its place, never two at the same time."""

    def __init__(self, manager: Manager, *, labels_ahead: bool = False) -> None:
        """With `labels_ahead` a new label may point at a version that is not AVAILABLE."""
        self._manager = manager
        self._labels_ahead = labels_ahead
        self._config = ModelServerConfig()
        self._places = threading.Semaphore(MOST_RELOADS)
        self._turn = threading.Lock()

    @property
    def config(self) -> ModelServerConfig:
        """The configuration in force; not to be changed."""
        return self._config

    def start(self, config: ModelServerConfig) -> None:
        """Put the first configuration in force, and begin to load.

        Its labels may point at versions that are only about to be loaded. Raises `ServingError`.
        """
        models = self._models_of(config)
        for each in models.values():
            self._check_first_labels(each)
        self._commit(config, models)

    def reload(self, config: ModelServerConfig, patience: Patience) -> None:
        """Put a configuration in force instead of the present one, and wait until its models are loaded.

        As in TF Serving, the versions that it adds are waited for, until each is AVAILABLE or the first attempt to
        load it has failed; and what did not become available is an error (UNKNOWN), although the configuration is in
        force then: whoever deploys learns that a model is not up, and the other models do not suffer from it. What was
        configured before is tried again, but not waited for, and whether it can be loaded plays no part. Raises
        `ServingError`.
        """
        outcome = self._manager.wait_for(self.apply(config, patience), patience)
        if outcome.superseded:
            raise ServingError(
                grpc.StatusCode.ABORTED,
                "the configuration was put in force, and replaced by a later reload before all of its models were "
                "loaded; send it again if it shall stay",
            )
        if outcome.pending:
            raise ServingError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"the configuration is in force, but still loading: {', '.join(outcome.pending)}; ask GetModelStatus "
                "for what becomes of it, or allow more time",
            )
        if outcome.failures:
            raise ServingError(grpc.StatusCode.UNKNOWN, _failure_text(outcome.failures))

    def apply(self, config: ModelServerConfig, patience: Patience) -> Change:
        """Put a configuration in force instead of the present one; what it changes.

        It waits only for versions that labels point at and that are not loaded yet: labels move when these are
        AVAILABLE, so that no label is ever without a version. Raises `ServingError`, and then all stays as it was:
        INVALID_ARGUMENT for what is no configuration, FAILED_PRECONDITION for a label on a version that is not
        available, ABORTED when other reloads take longer than `patience`.
        """
        if not self._places.acquire(blocking=False):
            raise ServingError(
                grpc.StatusCode.ABORTED, f"{MOST_RELOADS} reloads are under way; send this one again when they ended"
            )
        try:
            self._take_turn(patience)
            try:
                models = self._models_of(config)
                try:
                    self._load_ahead(models, patience)
                    return self._commit(config, models)
                finally:
                    self._manager.release()
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def _take_turn(self, patience: Patience) -> None:
        while not self._turn.acquire(timeout=patience.step):
            if patience.is_over:
                raise ServingError(
                    grpc.StatusCode.ABORTED,
                    "another reload is under way and waits for its models; nothing was changed: "
                    "send this one again when it has ended, or allow more time",
                )

    def _models_of(self, config: ModelServerConfig) -> dict[str, ModelConfig]:
        """The models of a message that may take the place of the present one. Raises `ServingError`."""
        before = {each.name: model_config.platform_of(each) for each in self._config.model_config_list.config}
        for each in config.model_config_list.config:
            platform = model_config.platform_of(each)
            if platform and before.get(each.name, platform) != platform:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Illegal to change a model's platform. For model {each.name} platform was {before[each.name]} "
                    f"and new platform requested is {platform}; give it another name",
                )
        try:
            return model_config.models_of(config, where="ModelServerConfig")
        except SettingsError as exc:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(exc)) from exc

    def _commit(self, config: ModelServerConfig, models: Mapping[str, ModelConfig]) -> Change:
        copy = ModelServerConfig()
        copy.CopyFrom(config)
        self._config = copy
        return self._manager.put(models)

    # Labels.

    def _check_first_labels(self, config: ModelConfig) -> None:
        """Refuse labels on versions that are not there; those that are will be loaded, so their labels may wait."""
        try:
            wanted = version_dirs.wanted_versions(config, version_dirs.find_versions(config.base_path))
        except OSError:  # nothing is known of its versions; that touches only this model
            return
        for number in config.labels.values():
            if number not in wanted and not self._labels_ahead:
                raise _label_error(config, number, _reason_against(config, number))

    def _load_ahead(self, models: Mapping[str, ModelConfig], patience: Patience) -> None:
        """Load the versions that labels point at before the labels do."""
        targets = [(config, number) for config in models.values() for number in self._labels_to_await(config)]
        for config, number in targets:
            try:
                found = version_dirs.find_versions(config.base_path)
            except OSError as exc:
                raise _label_error(config, number, f"its base path cannot be read: {exc}") from exc
            if number not in version_dirs.wanted_versions(config, found):
                raise _label_error(config, number, _reason_against(config, number))
            if not version_dirs.has_model(found[number]):
                raise _label_error(config, number, waiting_text(found[number]))
            self._manager.hold(config, number, found[number])
        for config, number in targets:
            status = self._manager.wait_for_held(config.name, number, patience)
            if status.state != AVAILABLE:
                reason = status.status.error_message or "it is still being loaded; allow more time"
                raise _label_error(config, number, reason)

    def _labels_to_await(self, config: ModelConfig) -> set[int]:
        """The versions of labels that have to be loaded before the label may point at them."""
        present = self._manager.labels(config.name)
        available = self._manager.available(config.name)
        if config.specific:
            available &= config.specific
        return {
            number
            for label, number in config.labels.items()
            if number not in available and not (self._labels_ahead and present.get(label, number) == number)
        }


def _label_error(config: ModelConfig, number: int, reason: str) -> ServingError:
    return ServingError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Request to assign label to version {number} of model {config.name}, which is not currently available for "
        f"inference: {reason}",
    )


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
        f"{{{{name: {each.model}{'' if each.version is None else f' version: {each.version}'}}} "
        f"due to error: {each.error}}}, "
        for each in failures
    )
    count = len({each.model for each in failures})
    return (
        f"{count} model(s) did not become available: {{{models}}} The configuration is in force, the other models are "
        "not touched, and what failed is tried again: mend its files, or send another configuration"
    )
