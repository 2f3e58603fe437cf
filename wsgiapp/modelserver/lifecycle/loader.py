"""Versions are loaded and closed, on threads of their own."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.model_table import ModelTable
from wsgiapp.modelserver.lifecycle.threads import WorkerThreads
from wsgiapp.modelserver.lifecycle.versions import AVAILABLE, Loaded, Model, Retries, Source, Version
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving.messages import error_codes_pb2

log = logging.getLogger(__name__)

DEFAULT_THREADS = 4  # that load, and as many that close, where TF Serving would do one after the other


class Retired(NamedTuple):
    """What is to be closed when no call uses it any more."""

    name: str
    version: Version
    loaded: Loaded


class Loader:
    """Starts attempts to load versions, and closes what was retired.

    A version that serves is retired only when one that is wanted instead of it is AVAILABLE, and an unloaded version is
    closed when the last call that uses it has ended.
    """

    def __init__(
        self,
        table: ModelTable,
        load: Callable[[Path], Servable],
        retries: Retries,
        *,
        load_threads: int = DEFAULT_THREADS,
        unload_threads: int = DEFAULT_THREADS,
    ) -> None:
        self._table = table
        self._load = load
        self._retries = retries
        self._attempts: Counter[tuple[str, bool]] = Counter()
        self._loads = WorkerThreads("load", load_threads)
        self._unloads = WorkerThreads("unload", unload_threads)

    def attempts(self) -> Mapping[tuple[str, bool], int]:
        """The number of attempts to load a version, by model and success."""
        with self._table.lock:
            return dict(self._attempts)

    def close_unused(self, retired: Iterable[Retired]) -> None:
        """Close what no call uses, on other threads: it may take long, and a call's answer must not wait for it."""
        for each in retired:
            with self._table.lock:
                servable = each.loaded.take()
            if servable is not None:
                log.info("model %s: closing version %d", each.name, each.version.number)
                self._unloads.run(partial(self._close, each, servable))

    def join(self, seconds: float) -> bool:
        """Wait until nothing is being closed; whether that came true in time."""
        return self._unloads.join(seconds)

    # Under the lock.

    def load_if_due(self, name: str, model: Model, version: Version, source: Source, *, settled: bool) -> None:
        """Start an attempt to load `source` where `Version.is_due` says so."""
        if version.is_due(source, settled=settled, retries=self._retries, now=time.monotonic()):
            version.begin(source)
            self._loads.run(partial(self._attempt, name, model, version, source.path))

    def retire(self, name: str, model: Model) -> list[Retired]:
        """Retire what is superseded, or all of a model that is not configured."""
        if model.configured:
            leaving = model.superseded()
        else:
            leaving = [each for each in model.versions.values() if each.state == AVAILABLE]
        return [Retired(name, version, loaded) for version in leaving if (loaded := version.retire())]

    # On the threads.

    def _attempt(self, name: str, model: Model, version: Version, path: Path) -> None:
        if not model.configured:  # it was unloaded while this attempt waited for its turn
            with self._table.lock:
                version.loading = False
                version.end()
                self._table.lock.notify_all()
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
            with self._table.lock:
                self._attempts[name, True] += 1
                before = version.succeed(servable)
                retired = [Retired(name, version, before)] if before is not None else []
                retired += self.retire(name, model)
                self._table.lock.notify_all()
            self.close_unused(retired)
        self._table.notify_listeners()

    def _note_failure(self, name: str, version: Version, exc: Exception) -> None:
        code = exc.code.value[0] if isinstance(exc, ServingError) else error_codes_pb2.UNKNOWN
        with self._table.lock:
            self._attempts[name, False] += 1
            pause = self._retries.pause(version.failures + 1)
            version.fail(code, str(exc) or type(exc).__name__, time.monotonic() + pause)
            last = version.failures > self._retries.max_retries
            self._table.lock.notify_all()
        then = "not tried again until its files change" if last else f"tried again in {pause:.1f} s"
        log.error("model %s: version %d cannot be loaded (%s): %s", name, version.number, then, exc)

    def _close(self, retired: Retired, servable: Servable) -> None:
        name, version, loaded = retired
        try:
            servable.close()
        except Exception:
            log.exception("model %s: closing version %d failed", name, version.number)
        with self._table.lock:
            if version.loaded is loaded:  # and not what replaced it, when its files were replaced
                version.end()
            self._table.lock.notify_all()
