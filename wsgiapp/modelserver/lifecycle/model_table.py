"""The models, their versions, and the lock under which they are read and changed.

Two locks, always taken in this order: that of the `Reconciler`, which one comparison of the configuration with the
disk has at a time, and that of the `ModelTable`. The second one is never held while files are read or a version is
loaded or closed, so that no call ever waits for one. Where a docstring says "under the lock", it is the second one.
"""

import threading
from collections.abc import Callable

from wsgiapp.modelserver.lifecycle.threads import WaitDeadline
from wsgiapp.modelserver.lifecycle.versions import Model
from wsgiapp.tfserving.model_config import ModelConfig


class ModelTable:
    """What `Leases`, `Loader` and `Reconciler` share."""

    def __init__(self) -> None:
        self.lock = threading.Condition()  # notified after each change that a thread may wait for
        self._models: dict[str, Model] = {}
        self._staged: dict[str, Model] = {}  # new ones, of a reload that waits for the versions of its labels
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener`, without any lock held, after each change to what is AVAILABLE or configured."""
        self._listeners.append(listener)

    def notify_listeners(self) -> None:
        for listener in self._listeners:
            listener()

    def wait_until(self, done: Callable[[], bool], deadline: WaitDeadline) -> bool:
        """Wait until `done`, which is called under the lock; whether that came true in time."""
        with self.lock:
            while not done():
                if deadline.has_passed:
                    return False
                self.lock.wait(deadline.step)
            return True

    # Under the lock.

    def models(self) -> list[tuple[str, Model]]:
        """All models by name, also those that are not configured any more: their versions may still be in use."""
        return list(self._models.items())

    def configured(self) -> list[tuple[str, Model]]:
        """The models of the active configuration, by name."""
        return [(name, model) for name, model in self._models.items() if model.configured]

    def find(self, name: str) -> Model | None:
        """A model, configured or not."""
        return self._models.get(name)

    def find_configured(self, name: str) -> Model | None:
        """A model of the active configuration."""
        model = self._models.get(name)
        return model if model is not None and model.configured else None

    def stage(self, config: ModelConfig) -> Model:
        """The configured model of that name, or else one that `add` will configure unless `drop_staged` comes first."""
        return self.find_configured(config.name) or self._staged.setdefault(config.name, Model(config))

    def add(self, config: ModelConfig) -> Model:
        """Configure a model: the staged one, the one that is there, or a new one."""
        model = self._staged.pop(config.name, None) or self._models.get(config.name) or Model(config)
        self._models[config.name] = model
        model.config, model.configured = config, True
        return model

    def drop_staged(self) -> list[tuple[str, Model]]:
        """Forget the staged models, which are not configured then."""
        dropped, self._staged = self._staged, {}
        for model in dropped.values():
            model.configured = False
        return list(dropped.items())
