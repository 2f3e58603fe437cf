"""`ConfigTransaction`: what the model server loads and what the files say change together, or not at all."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wsgiapp.backend.interface import Backend
from wsgiapp.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    RequestError,
    SettingsError,
    Unavailable,
    Unimplemented,
    with_cause,
)
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.tfserving import model_config, texts
from wsgiapp.tfserving.messages import ModelServerConfig

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0


class ConfigTransaction:
    """Applies configurations, for at most `seconds` each, and undoes what cannot be finished.

    Raises one of `errors.RequestError` throughout.
    """

    def __init__(self, backend: Backend, file: ModelsFile, seconds: float) -> None:
        self._backend = backend
        self._file = file
        self._seconds = seconds

    def active(self) -> ModelServerConfig:
        """The active configuration."""
        try:
            return self._backend.config(time.monotonic() + CALL_SECONDS)
        except Unimplemented:  # TF Serving itself does not offer it: the last one applied
            try:
                return model_config.read(self._file.rendered_path)
            except SettingsError as exc:
                raise Unimplemented(
                    "the model server does not offer its configuration, and there is no rendered models.config"
                ) from exc

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One change at a time. What a process that was killed had applied, and not written yet, is written first.

        TF Serving itself does not tell what it has applied: there the operator's file stays, until it is reloaded.
        """
        with self._file.locked():
            intended = self._file.intent()
            if intended is not None and self.active() == self._file.parse(intended):
                try:
                    self._file.write(intended)
                except OSError as exc:
                    raise Conflict(f"a change that was cut off is active, and cannot be written: {exc}") from exc
                log.warning("models.config: a change that was cut off is active, and written now")
            self._file.clear_intent()
            yield

    @contextmanager
    def all_or_nothing(
        self, before: ModelServerConfig, what: str, kind: type[RequestError] | None = None
    ) -> Iterator[None]:
        """Should a change fail on its way, apply the configuration from before again.

        The error says `what` was not done, and what is active; it is of `kind`, or of the kind that a client can tell
        apart: a request at fault, and a model server that is away.
        """
        try:
            yield
        except (RequestError, SettingsError, OSError) as exc:
            now = self._roll_back(before)
            told = next(
                (each for each in (Unavailable, DeadlineExceeded, InvalidArgument) if isinstance(exc, each)), Conflict
            )
            reason = str(exc).removesuffix(texts.APPLIED_ALL_THE_SAME)
            raise (kind or told)(f"{what}: {reason}; {now}") from exc
        except BaseException:  # Ctrl-C
            self._roll_back(before)
            raise
        finally:
            self._file.clear_intent()

    def apply(self, text: str) -> None:
        """Have the model server replace its configuration, and load what is new in it."""
        self._backend.reload(self._file.parse(text), time.monotonic() + self._seconds)

    def apply_noted(self, text: str) -> None:
        """Apply what will be written then."""
        self._file.note_intent(text)
        self.apply(text)

    def keep(self, text: str) -> None:
        """Have the model server start with what is active now. Raises `Conflict` where that cannot be written."""
        try:
            self._file.write_rendered(text)
        except OSError as exc:
            raise Conflict(
                f"{self._file.path} is active, but a model server that restarts would start with the configuration "
                f"from before: {exc}"
            ) from exc

    def is_active(self, config: ModelServerConfig) -> bool:
        """Whether the model server has a configuration, be it that not all of its models could be loaded."""
        try:
            return self._backend.config(time.monotonic() + CALL_SECONDS) == config
        except Unimplemented:  # TF Serving itself applies what it does not reject, and then waits
            return True
        except RequestError:
            return False

    def _roll_back(self, before: ModelServerConfig) -> str:
        """What is active then. What cannot be loaded of `before` could not be loaded before either."""
        try:
            self._backend.reload(before, time.monotonic() + self._seconds)
        except RequestError as exc:
            if not self.is_active(before):
                log.error("the configuration from before cannot be applied again: %s", with_cause(exc))
                return "nor can the configuration from before be applied again; `wsgiapp models reload` tries it"
        return "the configuration from before is active"
