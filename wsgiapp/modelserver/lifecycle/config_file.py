"""`--model_config_file_poll_wait_seconds`: models.config is polled, and reloaded when it has changed."""

import logging
import time
from pathlib import Path

from wsgiapp.errors import SettingsError, WsgiappError
from wsgiapp.modelserver.lifecycle.config_reloads import ConfigReloads
from wsgiapp.modelserver.lifecycle.threads import PeriodicTask, WaitDeadline
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelServerConfig

log = logging.getLogger(__name__)

# Before a rejected configuration is tried again, which may only lack a version; each pause is twice the last one.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0


class ConfigFile:
    """Polls a file. One that cannot be applied leaves the old configuration, and is logged once."""

    def __init__(self, path: Path, first: ModelServerConfig, reloads: ConfigReloads, poll_seconds: float) -> None:
        self._path = path
        self._reloads = reloads
        self._applied = first
        self._rejected: ModelServerConfig | None = None
        self._pause, self._retry_at = FIRST_PAUSE_SECONDS, 0.0
        self._problem = ""
        self._poller = PeriodicTask(f"polling {path}", poll_seconds, self.poll)

    def start(self) -> None:
        self._poller.start()

    def stop(self, seconds: float) -> None:
        self._poller.stop(seconds)

    def poll(self) -> None:
        """Apply the file where it has changed, or where that was not possible the last time.

        It does not wait for models to load: their errors are in their statuses.
        """
        try:
            config = model_config.read(self._path)
            if config == self._applied:
                self._problem = ""
            elif config != self._rejected or time.monotonic() >= self._retry_at:
                self._apply(config)
        except WsgiappError as exc:
            if str(exc) != self._problem:
                log.error("%s is not applied, the old configuration stays: %s", self._path, exc)
            self._problem = str(exc)

    def _apply(self, config: ModelServerConfig) -> None:
        if config.WhichOneof("config") != "model_config_list":
            raise SettingsError(f"{self._path}: no model_config_list; an empty one unloads all models")
        self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS) if config == self._rejected else FIRST_PAUSE_SECONDS
        self._rejected = config
        try:
            self._reloads.apply(config, WaitDeadline.after(None))
        finally:
            self._retry_at = time.monotonic() + self._pause
        self._applied, self._rejected, self._problem = config, None, ""
        log.info("%s is applied", self._path)
