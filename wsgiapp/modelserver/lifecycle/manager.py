"""Which versions should be loaded, which are, and who is using them.

Two locks, always taken in this order: that of a look at the folders, and that of the state, which is never held while
files are read or a version is loaded or closed, so that no call ever waits for one.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc

from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.threads import Every, Patience, Threads, remaining
from wsgiapp.modelserver.lifecycle.versions import (
    AVAILABLE,
    FIRST_RETRY_SECONDS,
    START,
    Loaded,
    Model,
    Retries,
    Source,
    Version,
    waiting_text,
)
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving import version_dirs
from wsgiapp.tfserving.messages import ModelSpec, ModelVersionStatus, error_codes_pb2
from wsgiapp.tfserving.model_config import ModelConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """How versions are found, loaded and given up."""

    poll_seconds: float = 1.0  # between two looks at the folders; 0 looks once
    retries: Retries = field(default_factory=Retries)
    load_threads: int = 4
    unload_threads: int = 4


class Change(NamedTuple):
    """What `Manager.put` did: the models that are new or changed, with the versions that were wanted of them before."""

    models: Mapping[str, set[int]]
    generation: int


class Failure(NamedTuple):
    """What keeps a model, or one of its versions, from being AVAILABLE."""

    model: str
    version: int | None
    error: str


class Outcome(NamedTuple):
    """What became of models that were waited for."""

    superseded: bool  # others were put in their place meanwhile
    pending: list[str]  # what is still loading, in words
    failures: list[Failure]


class _Retired(NamedTuple):
    """What is to be closed when no call uses it any more."""

    name: str
    version: Version
    loaded: Loaded


class Manager:
    """Keeps the configured models loaded as their folders change; lends them to calls.

    Loading and closing happen on threads of their own. The version that serves stays until one that is wanted instead
    of it is AVAILABLE, and an unloaded version is closed when the last call that uses it has ended.
    """

    def __init__(self, load: Callable[[Path], Servable], lifecycle: Lifecycle | None = None) -> None:
        self._load = load
        self._lifecycle = lifecycle or Lifecycle()
        self._models: dict[str, Model] = {}
        self._staged: dict[str, Model] = {}  # new ones of a configuration that has not been decided yet
        self._generation = 0  # counts configurations
        self._attempts: Counter[tuple[str, bool]] = Counter()  # to load, by model and success
        self._looking = threading.Lock()
        self._changed = threading.Condition()  # its lock is the lock of the state
        self._listeners: list[Callable[[], None]] = []
        self._loads = Threads("load", self._lifecycle.load_threads)
        self._unloads = Threads("unload", self._lifecycle.unload_threads)
        seconds = self._lifecycle.poll_seconds
        self._poller = Every(
            "looking for versions", seconds or FIRST_RETRY_SECONDS, self.look if seconds else self._retry
        )

    # Calls.

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[tuple[int, Servable]]:
        """The version number and servable that `spec` asks for; it stays loaded for the body. Raises `ServingError`."""
        with self._changed:
            version = self._find(spec)
            loaded = version.loaded
            assert loaded is not None and loaded.servable is not None, "an AVAILABLE version has one"  # noqa: S101
            loaded.users += 1
        try:
            yield version.number, loaded.servable
        finally:
            with self._changed:
                loaded.users -= 1
                last_out = loaded.retired and loaded.users == 0
            if last_out:
                self._close_unused([_Retired(spec.name, version, loaded)])

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """The states of a model's versions, newest first. Raises `ServingError` for what is not there."""
        with self._changed:
            model = self._models.get(spec.name)
            number = self._asked_version(spec, model) if model else None
            if model is None or (number is None and not model.versions):
                trouble = f": {model.trouble}" if model and model.trouble else ""
                raise ServingError(
                    grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}{trouble}"
                )
            if number is None:
                return [version.status() for version in model.newest_first()]
            if number not in model.versions:
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find version {number} of model {spec.name}")
            return [model.versions[number].status()]

    def availability(self) -> dict[str, bool]:
        """Each configured model, and whether a version of it answers calls."""
        with self._changed:
            return {name: bool(model.available()) for name, model in self._configured()}

    def is_configured(self, name: str) -> bool:
        """Whether there is such a model, loaded or not."""
        with self._changed:
            return self._present(name) is not None

    def attempts(self) -> Mapping[tuple[str, bool], int]:
        """How often a version of each model has, or has not, been loaded."""
        with self._changed:
            return dict(self._attempts)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener`, without any lock held, after whatever may change `availability`."""
        self._listeners.append(listener)

    # Which models there are.

    def put(self, models: Mapping[str, ModelConfig]) -> Change:
        """Have exactly these models from now on: load what is new, unload what is left out, try again what failed."""
        with self._looking, self._changed:
            changed: dict[str, set[int]] = {}
            for name, each in models.items():
                before = self._present(name)
                if before is None or before.config != each:
                    stays = before is not None and before.config.base_path == each.base_path
                    changed[name] = (before.wanted or set()) if before and stays else set()
                model = self._models[name] = self._staged.get(name) or self._models.get(name) or Model(each)
                model.config, model.configured, model.wanted = each, True, None
                for version in model.versions.values():
                    version.failures, version.retry_at = 0, 0.0
            retired = []
            for name, model in self._models.items():
                if name not in models:
                    model.config, model.configured = replace(model.config, labels={}), False
                    retired += self._retired(name, model)
            self._staged = {}
            self._generation += 1
            generation = self._generation
            self._changed.notify_all()
        self._close_unused(retired)
        self.look(settled=True)
        return Change(changed, generation)

    def wait_for(self, change: Change, patience: Patience) -> Outcome:
        """Wait until each version that a change asks for is AVAILABLE or the first attempt to load it has failed."""
        models = change.models
        self._wait(lambda: self._generation != change.generation or not self._pending(models), patience)
        with self._changed:
            if self._generation != change.generation:
                return Outcome(superseded=True, pending=[], failures=[])
            failures = [each for name in sorted(models) for each in _failures(name, self._models[name], models[name])]
            return Outcome(superseded=False, pending=self._pending(models), failures=failures)

    def wait_for_attempts(self, patience: Patience) -> bool:
        """Wait until the first attempt to load each wanted version has ended; whether that came true in time."""
        return self._wait(lambda: not self._pending({name: set() for name in self._models}), patience)

    def hold(self, config: ModelConfig, number: int, path: Path) -> None:
        """Load a version of a model as it is going to be configured, and keep it until the next `put` or `release`."""
        source = Source(path, version_dirs.fingerprint(path))
        with self._changed:
            model = self._present(config.name) or self._staged.setdefault(config.name, Model(config))
            model.held.add(number)
            version = model.versions.setdefault(number, Version(number))
            version.failures, version.retry_at = 0, 0.0
            if self._is_due(version, source, settled=True):
                self._begin(config.name, model, version, source)

    def wait_for_held(self, name: str, number: int, patience: Patience) -> ModelVersionStatus:
        """Wait until the attempt to load a version that is held has ended; its status then."""
        with self._changed:
            model = self._present(name) or self._staged[name]
            version = model.versions[number]
        self._wait(lambda: not version.loading, patience)
        with self._changed:
            return version.status()

    def release(self) -> None:
        """Hold nothing any more; what is not wanted is unloaded."""
        with self._changed:
            dropped, self._staged = self._staged, {}
            for model in dropped.values():
                model.configured = False
            retired = []
            for name, model in [*self._models.items(), *dropped.items()]:
                model.held.clear()
                retired += self._retired(name, model)
        self._close_unused(retired)

    def labels(self, name: str) -> dict[str, int]:
        """The versions behind a model's labels; none for a model that is not configured."""
        with self._changed:
            model = self._present(name)
            return dict(model.config.labels) if model else {}

    def available(self, name: str) -> set[int]:
        """A model's AVAILABLE versions; none for a model that is not configured."""
        with self._changed:
            model = self._present(name)
            return model.available() if model else set()

    # The folders.

    def watch(self) -> None:
        """Look at the folders regularly from now on."""
        self._poller.start()

    def look(self, *, settled: bool = False) -> None:
        """Compare the folders with what is loaded, and start what follows.

        A new version, or one whose files were replaced, is loaded when two looks found it unchanged, so that none is
        read while it is being copied; with `settled`, at once.
        """
        with self._looking:
            with self._changed:
                models = list(self._configured())
            for name, model in models:
                try:
                    self._look_at(name, model, settled)
                except Exception:  # whatever it is, it must not keep the other models
                    log.exception("model %s: looking for its versions failed", name)
        self._tell()

    def stop(self, seconds: float) -> bool:
        """Stop watching and unload everything; whether that ended in time (a load may hang, or a call)."""
        deadline = time.monotonic() + seconds
        self._poller.stop(seconds)
        with self._changed:
            for _, model in self._configured():
                model.configured = False
            retired = [pair for name, model in self._models.items() for pair in self._retired(name, model)]
        self._close_unused(retired)
        unloaded = self._wait(lambda: not any(model.is_busy() for model in self._models.values()), Patience(deadline))
        return unloaded and self._unloads.join(remaining(deadline))

    # Looking, loading, closing.

    def _look_at(self, name: str, model: Model, settled: bool) -> None:
        base_path = model.config.base_path
        try:
            found = version_dirs.find_versions(base_path)
        except OSError as exc:  # keep what serves: the disk may come back
            self._note_trouble(name, model, f"Could not find base path {base_path} for servable {name}: {exc}")
            return
        self._note_trouble(name, model, "" if found else _no_versions_text(name, base_path))
        self._note_missing(name, model, found)
        with self._changed:
            kept = model.available()
        whole = {number: path for number, path in found.items() if number in kept or version_dirs.has_model(path)}
        hoped_for = version_dirs.wanted_versions(model.config, found)
        wanted = version_dirs.wanted_versions(model.config, whole)
        for number in sorted(wanted, reverse=True):
            if version_dirs.has_model(found[number]):
                self._load_if_due(name, model, number, found[number], settled)
        with self._changed:
            for number in hoped_for - wanted:
                model.versions.setdefault(number, Version(number)).await_files(waiting_text(found[number]))
            for number in [each.number for each in model.versions.values() if each.state == START]:
                if number not in found:
                    del model.versions[number]
            # What a label points at stays when newer ones come: TF Serving unloads it, and its clients get NOT_FOUND.
            labelled = set(model.config.labels.values()) & kept & set(found)
            model.wanted = wanted | labelled | (hoped_for - set(whole))
            retired = self._retired(name, model)
            self._changed.notify_all()
        self._close_unused(retired)

    def _note_trouble(self, name: str, model: Model, trouble: str) -> None:
        if trouble and trouble != model.trouble:
            log.warning("%s", trouble)
        elif model.trouble and not trouble:
            log.info("model %s: its base path is all right again", name)
        with self._changed:
            model.trouble = trouble

    def _note_missing(self, name: str, model: Model, found: Mapping[int, Path]) -> None:
        missing = set(model.config.specific) - set(found)
        for number in sorted(missing - model.missing):
            log.warning(
                "Version %d of servable %s, which was requested to be served as a 'specific' version in the servable's "
                "version policy, was not found in the file system",
                number,
                name,
            )
        model.missing = missing

    def _load_if_due(self, name: str, model: Model, number: int, path: Path, settled: bool) -> None:
        source = Source(path, version_dirs.fingerprint(path))
        with self._changed:
            version = model.versions.setdefault(number, Version(number))
            if self._is_due(version, source, settled=settled):
                self._begin(name, model, version, source)

    def _begin(self, name: str, model: Model, version: Version, source: Source) -> None:
        """Start an attempt; to be called with the lock of the state held."""
        version.begin(source)
        self._loads.run(partial(self._attempt, name, model, version, source.path))

    def _attempt(self, name: str, model: Model, version: Version, path: Path) -> None:
        if not model.configured:  # it was unloaded while this attempt waited for its turn
            with self._changed:
                version.loading = False
                version.end()
                self._changed.notify_all()
            return
        log.info("model %s: loading version %d from %s", name, version.number, path)
        started = time.monotonic()
        try:
            servable = self._load(path)
        except Exception as exc:
            self._note_failure(name, version, exc)
        else:
            seconds = time.monotonic() - started
            log.info("model %s: version %d is AVAILABLE after %.1f s", name, version.number, seconds)
            with self._changed:
                self._attempts[name, True] += 1
                before = version.succeed(servable)
                retired = [_Retired(name, version, before)] if before is not None else []
                retired += self._retired(name, model)
                self._changed.notify_all()
            self._close_unused(retired)
        self._tell()

    def _note_failure(self, name: str, version: Version, exc: Exception) -> None:
        code = exc.code.value[0] if isinstance(exc, ServingError) else error_codes_pb2.UNKNOWN
        retries = self._lifecycle.retries
        with self._changed:
            self._attempts[name, False] += 1
            pause = retries.pause(version.failures + 1)
            version.fail(code, str(exc) or type(exc).__name__, time.monotonic() + pause)
            last = version.failures > retries.most
            self._changed.notify_all()
        then = "not tried again until its files change" if last else f"tried again in {pause:.1f} s"
        log.error("model %s: version %d cannot be loaded (%s): %s", name, version.number, then, exc)

    def _retired(self, name: str, model: Model) -> list[_Retired]:
        """Retire what is superseded, or all of a model that is not configured; with the lock of the state held."""
        if model.configured:
            leaving = model.superseded()
        else:
            leaving = [each for each in model.versions.values() if each.state == AVAILABLE]
        return [_Retired(name, version, loaded) for version in leaving if (loaded := version.retire())]

    def _close_unused(self, retired: Iterable[_Retired]) -> None:
        """Close what no call uses, on other threads: it may take long, and a call's answer must not wait for it."""
        for each in retired:
            with self._changed:
                servable = each.loaded.take()
            if servable is not None:
                log.info("model %s: closing version %d", each.name, each.version.number)
                self._unloads.run(partial(self._close, each, servable))

    def _close(self, retired: _Retired, servable: Servable) -> None:
        name, version, loaded = retired
        try:
            servable.close()
        except Exception:
            log.exception("model %s: version %d was not closed well", name, version.number)
        with self._changed:
            if version.loaded is loaded:  # and not what took its place, when its files were replaced
                version.end()
            self._changed.notify_all()

    def _retry(self) -> None:
        """Try what failed again without a look at the folders."""
        with self._changed:
            for name, model in self._configured():
                for number in model.wanted or ():
                    version = model.versions.get(number)
                    if version and version.tried and self._is_due(version, version.tried, settled=True):
                        self._begin(name, model, version, version.tried)

    def _is_due(self, version: Version, source: Source, *, settled: bool) -> bool:
        return version.is_due(source, settled=settled, retries=self._lifecycle.retries, now=time.monotonic())

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _wait(self, done: Callable[[], bool], patience: Patience) -> bool:
        with self._changed:
            while not done():
                if patience.is_over:
                    return False
                self._changed.wait(patience.step)
            return True

    # With the lock of the state held.

    def _configured(self) -> list[tuple[str, Model]]:
        return [(name, model) for name, model in self._models.items() if model.configured]

    def _pending(self, models: Mapping[str, set[int]]) -> list[str]:
        """What is being loaded of these models, but for the given versions."""
        return [
            f"version {each.number} of model {name}"
            for name, but in models.items()
            for each in self._models[name].pending()
            if each.number not in but
        ]

    def _present(self, name: str) -> Model | None:
        """A model of the configuration in force."""
        model = self._models.get(name)
        return model if model is not None and model.configured else None

    def _find(self, spec: ModelSpec) -> Version:
        """The AVAILABLE version that `spec` asks for."""
        if not spec.name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        asked = self._asked_version(spec, model) if model else None
        for version in model.newest_first() if model else ():
            if version.state == AVAILABLE and asked in (None, version.number):
                return version
        request = f"Latest({spec.name})" if asked is None else f"Specific({spec.name}, {asked})"
        raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request}")

    @staticmethod
    def _asked_version(spec: ModelSpec, model: Model) -> int | None:
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


def _failures(name: str, model: Model, but: set[int]) -> list[Failure]:
    """What keeps a model from being as it is configured; a version that is still being copied is no failure of it."""
    serves = bool(model.available()) and not model.config.specific
    wanted = [each for each in model.newest_first() if each.number in (model.wanted or set()) - but]
    failures = [
        Failure(name, each.number, each.error) for each in wanted if each.error and not (serves and each.state == START)
    ]
    if model.trouble or not (failures or model.available()):
        failures.append(Failure(name, None, model.trouble or "none of its versions was found"))
    return failures


def _no_versions_text(name: str, base_path: Path) -> str:
    return (
        f"No versions of servable {name} found under base path {base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )
