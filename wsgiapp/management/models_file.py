"""`ModelsFile`: the operator's `models.config`, and the rendered one that the model server starts with."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsgiapp.errors import Conflict, InvalidArgument, InvalidField, SettingsError
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.templates import as_owner, fill, replace_file, replace_files
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelServerConfig

NAME = "models.config"


def placeholders(settings: Settings) -> dict[str, str]:
    """What `@{name}` stands for in a `models.config`."""
    return {"home": str(settings.home), "conf": str(settings.conf), "models": str(settings.home / "models")}


class ModelsFile:
    """Reads and writes both files. Raises one of `errors.RequestError` throughout."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.path = settings.conf / NAME
        self.rendered_path = settings.run / NAME
        self._intent_path = settings.run / f"{NAME}.intent"

    def read(self) -> str:
        """The operator's text."""
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise InvalidArgument(f"{self.path}: {exc}") from exc

    def parse(self, text: str, where: str = "") -> ModelServerConfig:
        """A text as the model server would read it; `where` it is from, if not the file, stands in the error's text."""
        try:
            return model_config.parse(self._filled(text), where=where or str(self.path))
        except SettingsError as exc:
            raise InvalidArgument(str(exc)) from exc

    def write(self, text: str) -> None:
        """Replace the operator's text, and have the model server start with it from now on; the old one is kept in a
        file beside it. Raises `OSError`, and then all is as it was."""
        shutil.copy2(self.path, self.path.with_name(f"{NAME}.previous"))
        replace_files({self.path: text, self.rendered_path: self._filled(text)})

    def write_rendered(self, text: str) -> None:
        """Have the model server start with `text` from now on."""
        replace_file(self.rendered_path, self._filled(text))

    def note_intent(self, text: str) -> None:
        """Remember that `text` is about to be applied, and then written: a process may be killed in between."""
        replace_file(self._intent_path, json.dumps({"before": self.read(), "text": text}))

    def intent(self) -> str | None:
        """The text that a process was killed with before it wrote it, unless somebody has edited the file since."""
        try:
            noted = json.loads(self._intent_path.read_text(encoding="utf-8"))
            return str(noted["text"]) if self.read() in (noted["before"], noted["text"]) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def clear_intent(self) -> None:
        """What was intended has been done, or was undone."""
        with as_owner(self._intent_path.parent):
            self._intent_path.unlink(missing_ok=True)

    def require_known_folders(self, config: ModelServerConfig) -> None:
        """What comes over HTTP may name the folders that hold models already, and no other ones."""
        known = {Path(each.base_path) for each in self.parse(self.read()).model_config_list.config}
        known.add(self._settings.home / "models")
        for each in config.model_config_list.config:
            path = Path(each.base_path)
            if ".." in path.parts or not any(path.is_relative_to(folder) for folder in known):
                raise InvalidField(
                    "base_path", f"{each.base_path} of {each.name} is outside the folders that models.config has now"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One change at a time, among all processes. Raises `Conflict` while another one is under way."""
        self._settings.run.mkdir(parents=True, exist_ok=True)
        with as_owner(self._settings.run):
            file = (self._settings.run / "models.lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                raise Conflict("another change of the models is under way; try again when it has ended") from exc
            yield

    def _filled(self, text: str) -> str:
        return fill(text, placeholders(self._settings), self.path)
