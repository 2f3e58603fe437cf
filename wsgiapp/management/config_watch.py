"""`ConfigWatch`: `models.config` is applied when its operator has changed it.

TF Serving's `--model_config_file_poll_wait_seconds` would look at the rendered file, which is not the one that people
edit, and in a container not even at that: a file that is replaced is still the old one inside.
"""

import logging

from wsgiapp.errors import Conflict, InvalidArgument, RequestError, Unavailable
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.observability.audit_log import Actor
from wsgiapp.settings.schema import Settings

log = logging.getLogger(__name__)

DEFAULT_POLL_SECONDS = 1.0
WATCH = Actor("models watch")


class ConfigWatch:
    """Compares what the file says with what is active, and reloads it where that differs."""

    def __init__(self, control: ControlPlane, settings: Settings) -> None:
        self._control = control
        self._file = ModelsFile(settings)
        self._problem = ""

    def poll(self) -> None:
        """Look once. What cannot be applied is logged once, and tried again by the next polls."""
        try:
            config = self._file.parse(self._file.read(), str(self._file.path))
            if config == self._control.config():
                self._problem = ""
                return
            if config.WhichOneof("config") is None:  # an editor may be about to write it
                raise InvalidArgument("not applied: it has no model_config_list; an empty one unloads all models")
            for finding in self._control.reload(actor=WATCH, again=bool(self._problem)):
                log.warning("%s: %s", self._file.path, finding)
        except Conflict:  # somebody else is changing the models
            return
        except RequestError as exc:
            if str(exc) != self._problem:
                level = logging.INFO if isinstance(exc, Unavailable) else logging.ERROR  # it may be about to start
                log.log(level, "%s: %s", self._file.path, exc)
            self._problem = str(exc)
        else:
            self._problem = ""
            log.info("%s is applied", self._file.path)
