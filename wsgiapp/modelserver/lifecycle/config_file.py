"""`--model_config_file_poll_wait_seconds`: models.config read again and again, and reloaded when it has changed."""

import logging
import time
from pathlib import Path

from wsgiapp.errors import SettingsError, WsgiappError
from wsgiapp.modelserver.lifecycle.reloads import Reloads
from wsgiapp.modelserver.lifecycle.threads import Every, Patience
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelServerConfig

log = logging.getLogger(__name__)

# Before what was refused is tried again, as it may be for a version that is not there yet; each is twice the last one.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


class ConfigFile:
    """Watches a file. What cannot be put in force leaves the old configuration, and is logged once."""

    def __init__(self, path: Path, first: ModelServerConfig, reloads: Reloads, poll_seconds: float) -> None:
        self._path = path
        self._reloads = reloads
        self._applied = first
        self._refused: ModelServerConfig | None = None
        self._pause, self._retry_at = FIRST_PAUSE_SECONDS, 0.0
        self._problem = ""
        self._every = Every(f"reading {path}", poll_seconds, self.look)

    def start(self) -> None:
        self._every.start()

    def stop(self, seconds: float) -> None:
        self._every.stop(seconds)

    def look(self) -> None:
        """Put the file in force where it has changed, or where that was not possible the last time.

        It does not wait for models to load: their errors are in their statuses.
        """
        try:
            config = model_config.read(self._path)
            if config == self._applied:
                self._problem = ""
            elif config != self._refused or time.monotonic() >= self._retry_at:
                self._apply(config)
        except WsgiappError as exc:
            if str(exc) != self._problem:
                log.error("%s is not put in force, the old configuration stays: %s", self._path, exc)
            self._problem = str(exc)

    def _apply(self, config: ModelServerConfig) -> None:
        if config.WhichOneof("config") != "model_config_list":
            raise SettingsError(f"{self._path}: no model_config_list; an empty one unloads all models")
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS) if config == self._refused else FIRST_PAUSE_SECONDS
        self._refused = config
        try:
            self._reloads.apply(config, Patience.of(None))
        finally:
            self._retry_at = time.monotonic() + self._pause
        self._applied, self._refused, self._problem = config, None, ""
        log.info("%s is in force", self._path)
