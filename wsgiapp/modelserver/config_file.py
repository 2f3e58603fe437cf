"""`--model_config_file_poll_wait_seconds`: models.config read again and again, and reloaded when it has changed."""

import logging
from pathlib import Path

from wsgiapp import modelconfig
from wsgiapp.errors import SettingsError, WsgiappError
from wsgiapp.modelserver.reloads import Reloads
from wsgiapp.modelserver.threads import Every, Patience
from wsgiapp.protos import ModelServerConfig

log = logging.getLogger(__name__)


class ConfigFile:
    """Watches a file. What cannot be put in force leaves the old configuration, and is logged once."""

    def __init__(self, path: Path, first: ModelServerConfig, reloads: Reloads, poll_seconds: float) -> None:
        self._path = path
        self._reloads = reloads
        self._applied = first
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
            config = modelconfig.read(self._path)
            if config == self._applied:
                self._problem = ""
                return
            if config.WhichOneof("config") != "model_config_list":
                raise SettingsError(f"{self._path}: no model_config_list; an empty one unloads all models")
            self._reloads.apply(config, Patience.of(None))
        except WsgiappError as exc:
            if str(exc) != self._problem:
                log.error("%s is not put in force, the old configuration stays: %s", self._path, exc)
            self._problem = str(exc)
            return
        self._applied, self._problem = config, ""
        log.info("%s is in force", self._path)
