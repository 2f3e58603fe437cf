"""Which versions should be loaded, which are, and who is using them."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from wsgiapp import storage
from wsgiapp.modelconfig import ModelConfig
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.servable import Servable
from wsgiapp.protos import ModelSpec, ModelVersionStatus, error_codes_pb2

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class Version:
    """One version of a model, in one of TF Serving's states. Changed only under the manager's lock."""

    number: int
    path: Path
    state: int = ModelVersionStatus.START
    servable: Servable | None = None
    users: int = 0
    error: str = ""
    seen: storage.Fingerprint | None = None  # at the last look, until it is being loaded
    tried: storage.Fingerprint | None = None  # when the last attempt to load it began
    retry_pause: float = FIRST_RETRY_SECONDS
    retry_at: float = 0.0


@dataclass(slots=True)
class _Model:
    config: ModelConfig
    versions: dict[int, Version] = field(default_factory=dict)
    trouble: str = ""  # of its base path, logged once


class Manager:
    """Keeps the configured models loaded as their folders change; lends them to calls.

    Loading happens on threads of its own. The version that serves stays until one that is wanted instead of it is
    AVAILABLE, and an unloaded version is closed when the last call that uses it has ended.
    """

    def __init__(
        self,
        models: Mapping[str, ModelConfig],
        load: Callable[[Path], Servable],
        *,
        poll_seconds: float,
        longest_retry_seconds: float,
    ) -> None:
        self._models = {name: _Model(config) for name, config in models.items()}
        self._load = load
        self._poll_seconds = poll_seconds
        self._longest_retry_seconds = longest_retry_seconds
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._loaders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="load")
        self._poller = threading.Thread(target=self._poll, name="poll", daemon=True)

    def start(self) -> None:
        """Load what is there, wait until each version has loaded or failed, then watch the folders."""
        wait(self.look(settled=True))
        if self._poll_seconds > 0:
            self._poller.start()

    def stop(self) -> None:
        """Stop watching and unload everything."""
        self._stopping.set()
        self._loaders.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            versions = [version for model in self._models.values() for version in model.versions.values()]
        for version in versions:
            self._unload(version)

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[tuple[int, Servable]]:
        """The version number and servable that `spec` asks for; it stays loaded for the body. Raises `ServingError`."""
        with self._lock:
            version, servable = self._find(spec)
            version.users += 1
        try:
            yield version.number, servable
        finally:
            with self._lock:
                version.users -= 1
                last_out = version.users == 0 and version.state == ModelVersionStatus.UNLOADING
            if last_out:
                self._close(version)

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """The states of a model's versions, newest first. Raises `ServingError` for what is not there."""
        with self._lock:
            model = self._models.get(spec.name)
            versions = sorted(model.versions.values(), key=lambda each: -each.number) if model else []
            number = self._asked_version(spec, model) if model else None
            if number is not None:
                versions = [version for version in versions if version.number == number]
            if not versions:
                what = f"model {spec.name}" if number is None else f"version {number} of model {spec.name}"
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of {what}")
            return [_status(version) for version in versions]

    def look(self, *, settled: bool = False) -> list[Future[None]]:
        """Compare the folders with what is loaded, and start what follows; the loads that were started.

        A new version is loaded when two looks found it unchanged, so that none is read while it is being copied; with
        `settled`, at once.
        """
        started: list[Future[None]] = []
        for name, model in self._models.items():
            try:
                found = storage.find_versions(model.config.base_path)
            except OSError as exc:  # keep what serves: the disk may come back
                if model.trouble != str(exc):
                    model.trouble = str(exc)
                    log.warning("model %s: cannot read its base path: %s", name, exc)
                continue
            model.trouble = ""
            wanted = storage.wanted_versions(model.config, found)
            for number in sorted(wanted, reverse=True):
                if version := self._due(model, number, found[number], settled):
                    started.append(self._loaders.submit(self._load_version, name, version))
            for version in self._superseded(model, wanted):
                log.info("model %s: unloading version %d", name, version.number)
                self._unload(version)
        return started

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.look()
            except Exception:
                log.exception("looking for versions failed; trying again")

    def _due(self, model: _Model, number: int, path: Path, settled: bool) -> Version | None:
        """A wanted version that is to be loaded now, marked so; `None` where it is, or has to wait."""
        with self._lock:
            version = model.versions.setdefault(number, Version(number, path))
            if version.state not in (ModelVersionStatus.START, ModelVersionStatus.END):
                return None
        now = storage.fingerprint(path)
        changed, version.seen = now != version.seen, now
        if changed and not settled:
            return None
        if now == version.tried and time.monotonic() < version.retry_at:
            return None
        version.tried = now
        with self._lock:
            version.path, version.state, version.error = path, ModelVersionStatus.LOADING, ""
        return version

    def _load_version(self, name: str, version: Version) -> None:
        log.info("model %s: loading version %d from %s", name, version.number, version.path)
        started = time.monotonic()
        try:
            servable = self._load(version.path)
        except Exception as exc:
            with self._lock:
                version.state, version.error = ModelVersionStatus.END, str(exc) or type(exc).__name__
                version.retry_at = time.monotonic() + version.retry_pause
                version.retry_pause = min(2 * version.retry_pause, self._longest_retry_seconds)
            log.error("model %s: version %d cannot be loaded: %s", name, version.number, version.error)
            return
        with self._lock:
            version.servable, version.state = servable, ModelVersionStatus.AVAILABLE
            version.retry_pause = FIRST_RETRY_SECONDS
        log.info("model %s: version %d is AVAILABLE after %.1f s", name, version.number, time.monotonic() - started)

    def _superseded(self, model: _Model, wanted: set[int]) -> list[Version]:
        """The loaded versions nobody wants, once one that is wanted can take their place."""
        with self._lock:
            available = {each.number for each in model.versions.values() if each.state == ModelVersionStatus.AVAILABLE}
            if wanted and not wanted & available:
                return []
            return [model.versions[number] for number in available - wanted]

    def _unload(self, version: Version) -> None:
        with self._lock:
            if version.state != ModelVersionStatus.AVAILABLE:
                return
            version.state = ModelVersionStatus.UNLOADING
            unused = version.users == 0
        if unused:
            self._close(version)

    def _close(self, version: Version) -> None:
        with self._lock:
            servable, version.servable = version.servable, None
            version.state, version.tried, version.seen = ModelVersionStatus.END, None, None
        if servable is not None:
            servable.close()

    def _find(self, spec: ModelSpec) -> tuple[Version, Servable]:
        """The AVAILABLE version that `spec` asks for, and its servable."""
        model = self._models.get(spec.name)
        asked = self._asked_version(spec, model) if model else None
        for version in sorted(model.versions.values(), key=lambda each: -each.number) if model else []:
            if version.state == ModelVersionStatus.AVAILABLE and version.servable and asked in (None, version.number):
                return version, version.servable
        request = f"Latest({spec.name})" if asked is None else f"Specific({spec.name}, {asked})"
        raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request}")

    @staticmethod
    def _asked_version(spec: ModelSpec, model: _Model) -> int | None:
        """The version number in `spec`, or behind its label; `None` asks for the newest."""
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return int(spec.version.value)
        if choice == "version_label":
            if spec.version_label not in model.config.labels:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
                )
            return model.config.labels[spec.version_label]
        return None


def _status(version: Version) -> ModelVersionStatus:
    status = ModelVersionStatus(version=version.number, state=version.state)
    if version.error:
        status.status.error_code = error_codes_pb2.UNKNOWN
        status.status.error_message = version.error
    return status
