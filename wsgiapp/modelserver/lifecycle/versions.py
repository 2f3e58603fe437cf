"""The versions of one model: their states, their servables, and the results of attempts to load them."""

from dataclasses import dataclass, field
from pathlib import Path

from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving.messages import ModelVersionStatus, error_codes_pb2
from wsgiapp.tfserving.model_config import ModelConfig
from wsgiapp.tfserving.version_dirs import MODEL_FILES, Fingerprint

FIRST_RETRY_SECONDS = 1.0

START, LOADING, AVAILABLE = ModelVersionStatus.START, ModelVersionStatus.LOADING, ModelVersionStatus.AVAILABLE
UNLOADING, END = ModelVersionStatus.UNLOADING, ModelVersionStatus.END


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a version that cannot be loaded is tried again, unchanged, and after which pauses."""

    max_retries: int = 5
    max_pause: float = 60.0  # seconds

    def pause(self, failures: int) -> float:
        """Seconds from the attempt that failed as the `failures`-th one to the next."""
        return float(min(FIRST_RETRY_SECONDS * 2 ** (failures - 1), self.max_pause))


@dataclass(frozen=True, slots=True)
class Source:
    """The files of an attempt to load a version: where they lie, and what they looked like before."""

    path: Path
    files: Fingerprint


@dataclass(slots=True, eq=False)
class Loaded:
    """A servable and the number of calls that use it; closed after the last of them once it is retired."""

    servable: Servable | None  # until it is closed
    users: int = 0
    retired: bool = False

    def take(self) -> Servable | None:
        """The servable to close, once, when it is retired and unused; `None` otherwise."""
        if not self.retired or self.users:
            return None
        servable, self.servable = self.servable, None
        return servable


@dataclass(slots=True, eq=False)
class Version:
    """One version, in one of TF Serving's states. Read and changed only under the lock.

    While its files are replaced in place, it stays AVAILABLE with the old ones, and `loading` beside.
    """

    number: int
    state: int = START
    loaded: Loaded | None = None
    loading: bool = False
    error: str = ""
    error_code: int = error_codes_pb2.OK
    seen: Source | None = None  # at the last poll
    tried: Source | None = None  # what the last attempt read
    failures: int = 0  # to load `tried`
    retry_at: float = 0.0  # a point of time.monotonic()

    def begin(self, source: Source) -> None:
        """An attempt starts."""
        self.loading, self.tried = True, source
        if self.state != AVAILABLE:
            self.state, self.loaded = LOADING, None  # what may still be in use is closed by its last user
            self._clear_error()

    def fail(self, code: int, error: str, retry_at: float) -> None:
        """An attempt has failed."""
        self.loading, self.error_code, self.error = False, code, error
        self.failures += 1
        self.retry_at = retry_at
        if self.state != AVAILABLE:
            self.state = END

    def succeed(self, servable: Servable) -> Loaded | None:
        """An attempt has succeeded; what it replaces, retired."""
        before, self.loaded = self.loaded, Loaded(servable)
        if before is not None:
            before.retired = True
        self.loading, self.state, self.failures = False, AVAILABLE, 0
        self._clear_error()
        return before

    def await_files(self, error: str) -> None:
        """Its directory is there, but not yet what makes it a model."""
        if self.state in (START, END):
            self.state, self.error_code, self.error = START, error_codes_pb2.UNAVAILABLE, error

    def retire(self) -> Loaded | None:
        """Lease it to no further call; what is to be closed after the last one."""
        self.state = UNLOADING
        if self.loaded is not None:
            self.loaded.retired = True
        return self.loaded

    def end(self) -> None:
        """It is closed; the same files are loaded again as soon as they are wanted again."""
        self.state, self.loaded, self.seen, self.tried = END, None, None, None
        self._clear_error()

    def allow_retries(self) -> None:
        """Try it again at once, as often as a version that has not failed yet."""
        self.failures, self.retry_at = 0, 0.0

    def is_due(self, source: Source, *, settled: bool, retries: Retries, now: float) -> bool:
        """Whether to load `source` at this poll; remembers it for the next one."""
        unchanged, self.seen = source == self.seen, source
        if self.loading or self._reactivate(source):
            return False
        if source != self.tried or self.state == UNLOADING:
            self.failures = 0
            return settled or unchanged
        if not self.error:  # it is what was loaded
            return False
        return self.failures <= retries.max_retries and now >= self.retry_at

    def _reactivate(self, source: Source) -> bool:
        """Make it AVAILABLE again where it is wanted again before its last user has ended; whether that was so."""
        if self.state != UNLOADING or source != self.tried or self.loaded is None or self.loaded.servable is None:
            return False
        self.state, self.loaded.retired = AVAILABLE, False
        return True

    def status(self) -> ModelVersionStatus:
        """As TF Serving's message."""
        status = ModelVersionStatus(version=self.number, state=self.state)
        status.status.error_code, status.status.error_message = self.error_code, self.error
        return status

    def _clear_error(self) -> None:
        self.error_code, self.error = error_codes_pb2.OK, ""


@dataclass(slots=True, eq=False)
class Model:
    """A model of the active configuration, or of a former one (its versions may still be in use)."""

    config: ModelConfig
    versions: dict[int, Version] = field(default_factory=dict)
    configured: bool = True
    wanted: set[int] | None = None  # at the last poll; `None` before the first one
    held: set[int] = field(default_factory=set)  # loaded for the labels of a reload that is under way
    missing: set[int] = field(default_factory=set)  # specific versions that were not found
    base_path_error: str = ""

    def newest_first(self) -> list[Version]:
        return sorted(self.versions.values(), key=lambda each: -each.number)

    def available(self) -> set[int]:
        """The numbers of the versions that answer calls."""
        return {each.number for each in self.versions.values() if each.state == AVAILABLE}

    def superseded(self) -> list[Version]:
        """The AVAILABLE versions that are not wanted, once one that is wanted can replace them."""
        if self.wanted is None:
            return []
        available = self.available()
        if self.wanted and not self.wanted & available:
            return []
        return [self.versions[number] for number in available - self.wanted - self.held]

    def is_busy(self) -> bool:
        """Whether anything is loaded, being loaded, or not closed yet."""
        return any(each.loading or each.loaded for each in self.versions.values())

    def pending(self) -> list[Version]:
        """The wanted versions that are being loaded."""
        return [each for each in self.newest_first() if each.number in (self.wanted or ()) and each.loading]


def waiting_text(directory: Path) -> str:
    """What a version directory without a model in it lacks."""
    return f"waiting for a model in {directory}: there is no {' nor '.join(MODEL_FILES)} yet"
