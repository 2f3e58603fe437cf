"""The configured models are compared with the disk, and what follows is loaded or unloaded."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from wsgiapp.modelserver.lifecycle import outcome
from wsgiapp.modelserver.lifecycle.loader import Loader
from wsgiapp.modelserver.lifecycle.model_table import ModelTable
from wsgiapp.modelserver.lifecycle.outcome import Outcome
from wsgiapp.modelserver.lifecycle.threads import PeriodicTask, WaitDeadline, remaining
from wsgiapp.modelserver.lifecycle.versions import (
    FIRST_RETRY_SECONDS,
    START,
    Model,
    Source,
    Version,
    waiting_text,
)
from wsgiapp.tfserving import texts, version_dirs
from wsgiapp.tfserving.messages import ModelVersionStatus
from wsgiapp.tfserving.model_config import ModelConfig

log = logging.getLogger(__name__)


class Change(NamedTuple):
    """What `Reconciler.put` did: the models that are new or changed, with the versions wanted of them before."""

    models: Mapping[str, set[int]]
    generation: int


class Reconciler:
    """Keeps the configured models loaded as their folders change."""

    def __init__(self, table: ModelTable, loader: Loader, poll_seconds: float) -> None:
        """With `poll_seconds` 0, `watch` does not poll the folders; it only retries loads that failed."""
        self._table = table
        self._loader = loader
        self._generation = 0  # counts configurations
        self._polling = threading.Lock()
        self._poller = PeriodicTask(
            "polling for versions", poll_seconds or FIRST_RETRY_SECONDS, self.poll if poll_seconds else self._retry
        )

    # The configuration.

    def put(self, models: Mapping[str, ModelConfig]) -> Change:
        """Have exactly these models from now on: load what is new, unload what is left out, try again what failed."""
        with self._polling, self._table.lock:
            changed: dict[str, set[int]] = {}
            for name, config in models.items():
                before = self._table.find_configured(name)
                if before is None or before.config != config:
                    stays = before is not None and before.config.base_path == config.base_path
                    changed[name] = (before.wanted or set()) if before and stays else set()
                model = self._table.add(config)
                model.wanted = None
                for version in model.versions.values():
                    version.allow_retries()
            retired = []
            for name, model in self._table.models():
                if name not in models:
                    model.config, model.configured = replace(model.config, labels={}), False
                    retired += self._loader.retire(name, model)
            self._generation += 1
            generation = self._generation
            self._table.lock.notify_all()
        self._loader.close_unused(retired)
        self.poll(settled=True)
        return Change(changed, generation)

    def wait_for(self, change: Change, deadline: WaitDeadline) -> Outcome:
        """Wait until each version that a change asks for is AVAILABLE or the first attempt to load it has failed."""
        known = change.models

        def changed() -> dict[str, Model]:
            return {name: model for name, model in self._table.models() if name in known}

        def is_done() -> bool:
            return self._generation != change.generation or not outcome.pending(changed(), known)

        self._table.wait_until(is_done, deadline)
        with self._table.lock:
            if self._generation != change.generation:
                return Outcome(superseded=True, pending=[], failures=[])
            models = changed()
            failures = [each for name in sorted(models) for each in outcome.failures(name, models[name], known[name])]
            return Outcome(superseded=False, pending=outcome.pending(models, known), failures=failures)

    def wait_for_attempts(self, deadline: WaitDeadline) -> bool:
        """Wait until the first attempt to load each wanted version has ended; whether that came true in time."""
        return self._table.wait_until(lambda: not outcome.pending(dict(self._table.models()), {}), deadline)

    def hold(self, config: ModelConfig, number: int, path: Path) -> Version:
        """Load a version of a model as it is going to be configured, and keep it until the next `put` or `release`."""
        source = Source(path, version_dirs.fingerprint(path))
        with self._table.lock:
            model = self._table.stage(config)
            model.held.add(number)
            version = model.versions.setdefault(number, Version(number))
            version.allow_retries()
            self._loader.load_if_due(config.name, model, version, source, settled=True)
        return version

    def wait_for_held(self, version: Version, deadline: WaitDeadline) -> ModelVersionStatus:
        """Wait until the attempt to load a version that is held has ended; its status then."""
        self._table.wait_until(lambda: not version.loading, deadline)
        with self._table.lock:
            return version.status()

    def release(self) -> None:
        """Hold nothing any more; what is not wanted is unloaded."""
        with self._table.lock:
            dropped = self._table.drop_staged()
            retired = []
            for name, model in [*self._table.models(), *dropped]:
                model.held.clear()
                retired += self._loader.retire(name, model)
        self._loader.close_unused(retired)

    # The folders.

    def watch(self) -> None:
        """Poll the folders regularly from now on."""
        self._poller.start()

    def poll(self, *, settled: bool = False) -> None:
        """Compare the folders with what is loaded, and start what follows.

        A new version, or one whose files were replaced, is loaded when two polls found it unchanged, so that none is
        read while it is being copied; with `settled`, at once.
        """
        with self._polling:
            with self._table.lock:
                models = self._table.configured()
            for name, model in models:
                try:
                    self._poll_model(name, model, settled)
                except Exception:  # whatever it is, it must not keep the other models from being polled
                    log.exception("model %s: polling for its versions failed", name)
        self._table.notify_listeners()

    def stop(self, seconds: float) -> bool:
        """Stop polling and unload everything; whether that ended in time (a load may hang, or a call)."""
        deadline = time.monotonic() + seconds
        self._poller.stop(seconds)
        with self._table.lock:
            for _, model in self._table.configured():
                model.configured = False
            retired = [each for name, model in self._table.models() for each in self._loader.retire(name, model)]
        self._loader.close_unused(retired)

        def is_unloaded() -> bool:
            return not any(model.is_busy() for _, model in self._table.models())

        unloaded = self._table.wait_until(is_unloaded, WaitDeadline(deadline))
        return unloaded and self._loader.join(remaining(deadline))

    def _poll_model(self, name: str, model: Model, settled: bool) -> None:
        base_path = model.config.base_path
        try:
            found = version_dirs.find_versions(base_path)
        except OSError as exc:  # what serves stays: the disk may come back
            problem = texts.NO_BASE_PATH.format(base_path=base_path, name=name)
            self._note_base_path_error(name, model, f"{problem}: {exc}")
            return
        nothing = "" if found else texts.NO_VERSIONS_BELOW.format(name=name, base_path=base_path)
        self._note_base_path_error(name, model, nothing)
        _note_missing(name, model, found)
        with self._table.lock:
            kept = model.available()
        whole = {number: path for number, path in found.items() if number in kept or version_dirs.has_model(path)}
        hoped_for = version_dirs.wanted_versions(model.config, found)
        wanted = version_dirs.wanted_versions(model.config, whole)
        for number in sorted(wanted, reverse=True):
            if version_dirs.has_model(found[number]):
                source = Source(found[number], version_dirs.fingerprint(found[number]))
                with self._table.lock:
                    version = model.versions.setdefault(number, Version(number))
                    self._loader.load_if_due(name, model, version, source, settled=settled)
        with self._table.lock:
            for number in hoped_for - wanted:
                model.versions.setdefault(number, Version(number)).await_files(waiting_text(found[number]))
            for number in [each.number for each in model.versions.values() if each.state == START]:
                if number not in found:
                    del model.versions[number]
            # What a label points at stays when newer ones come: TF Serving unloads it, and its clients get NOT_FOUND.
            labelled = set(model.config.labels.values()) & kept & set(found)
            model.wanted = wanted | labelled | (hoped_for - set(whole))
            retired = self._loader.retire(name, model)
            self._table.lock.notify_all()
        self._loader.close_unused(retired)

    def _note_base_path_error(self, name: str, model: Model, error: str) -> None:
        if error and error != model.base_path_error:
            log.warning("%s", error)
        elif model.base_path_error and not error:
            log.info("model %s: its base path can be read again", name)
        with self._table.lock:
            model.base_path_error = error

    def _retry(self) -> None:
        """Try what failed again without reading the folders."""
        with self._table.lock:
            for name, model in self._table.configured():
                for number in model.wanted or ():
                    version = model.versions.get(number)
                    if version and version.tried:
                        self._loader.load_if_due(name, model, version, version.tried, settled=True)


def _note_missing(name: str, model: Model, found: Mapping[int, Path]) -> None:
    missing = set(model.config.specific) - set(found)
    for number in sorted(missing - model.missing):
        log.warning("%s", texts.SPECIFIC_VERSION_NOT_FOUND.format(version=number, name=name))
    model.missing = missing
