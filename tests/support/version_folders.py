"""Folders of models whose loader reads a number from a file instead of a SavedModel."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wsgiapp.modelserver.lifecycle.config_reloads import ConfigReloads
from wsgiapp.modelserver.lifecycle.leases import Leases
from wsgiapp.modelserver.lifecycle.loader import Loader
from wsgiapp.modelserver.lifecycle.model_table import ModelTable
from wsgiapp.modelserver.lifecycle.reconciler import Reconciler
from wsgiapp.modelserver.lifecycle.threads import WaitDeadline
from wsgiapp.modelserver.lifecycle.versions import Retries
from wsgiapp.tfserving.messages import ModelServerConfig, ModelSpec, SignatureDef
from wsgiapp.tfserving.tensors import Arrays

ALL = "model_version_policy { all {} }"
LONG = 20.0


class Number:
    """A servable that answers its number until it is closed."""

    signatures: Mapping[str, SignatureDef] = {}

    def __init__(self, path: Path) -> None:
        self.number = int((path / "saved_model.pb").read_text())
        self.closed = False

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        assert not self.closed
        return [np.array(self.number)]

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class VersionFolders:
    """Base paths below a folder, the lifecycle of their versions, and a gate for each model that loading waits at."""

    def __init__(
        self, folder: Path, *, allow_unavailable: bool = False, poll_seconds: float = 0.0, **retries: float
    ) -> None:
        self.folder = folder
        self.closed_gates: dict[str, threading.Event] = {}
        self.loads: list[Path] = []
        table = ModelTable()
        self.loader = Loader(table, self.load, Retries(**{"max_pause": 0.1, **retries}))  # type: ignore[arg-type]
        self.leases = Leases(table, self.loader)
        self.reconciler = Reconciler(table, self.loader, poll_seconds)
        self.reloads = ConfigReloads(self.leases, self.reconciler, allow_unavailable=allow_unavailable)

    def load(self, path: Path) -> Number:
        self.loads.append(path)
        if gate := self.closed_gates.get(path.parent.name):
            assert gate.wait(60)
        return Number(path)

    def close_gate(self, model: str) -> None:
        self.closed_gates[model] = threading.Event()

    def open_gates(self) -> None:
        for gate in self.closed_gates.values():
            gate.set()
        self.closed_gates = {}

    def add(self, model: str, version: int, number: str = "") -> Path:
        version_folder = self.folder / model / str(version)
        version_folder.mkdir(parents=True, exist_ok=True)
        (version_folder / "saved_model.pb").write_text(number or str(version))
        return version_folder

    def config(self, **models: str) -> ModelServerConfig:
        """Of models by name, each with the rest of its entry."""
        return config_of(self.folder, **models)

    def start(self, **models: str) -> None:
        self.reloads.start(self.config(**models))
        assert self.reconciler.wait_for_attempts(wait())

    def reload(self, seconds: float = LONG, **models: str) -> None:
        self.reloads.reload(self.config(**models), wait(seconds))

    def poll(self) -> None:
        """Twice, so that new versions are found settled; and wait for what follows, where no gate is closed.

        What is being loaded already is waited for first: a poll leaves it alone, whatever its files are then.
        """
        if not self.closed_gates:
            assert self.reconciler.wait_for_attempts(wait())
        self.reconciler.poll()
        self.reconciler.poll()
        if not self.closed_gates:
            assert self.reconciler.wait_for_attempts(wait())

    def answer(self, model: str = "m", **choice: object) -> float:
        with self.leases.lease(spec(model, **choice)) as (version, servable):  # type: ignore[arg-type]
            number = float(servable.run({}, [])[0])
            assert number // 100 == 0 or number // 100 == version
            return number

    def states(self, model: str = "m") -> dict[int, int]:
        return {each.version: each.state for each in self.leases.status(spec(model))}

    def error(self, version: int, model: str = "m") -> str:
        return self.leases.status(spec(model, version))[0].status.error_message


def wait(seconds: float = LONG) -> WaitDeadline:
    return WaitDeadline.after(seconds)


def config_of(folder: Path, **models: str) -> ModelServerConfig:
    from google.protobuf import text_format

    entries = [
        f'config {{ name: "{name}" base_path: "{folder / name}" model_platform: "tensorflow" {more} }}'
        for name, more in models.items()
    ]
    return text_format.Parse(f"model_config_list {{ {' '.join(entries)} }}", ModelServerConfig())


def specific(*versions: int) -> str:
    return f"model_version_policy {{ specific {{ {' '.join(f'versions: {each}' for each in versions)} }} }}"


def labels(**versions: int) -> str:
    return " ".join(f'version_labels {{ key: "{key}" value: {value} }}' for key, value in versions.items())


def spec(model: str = "m", version: int | None = None, label: str = "") -> ModelSpec:
    made = ModelSpec(name=model)
    if version is not None:
        made.version.value = version
    elif label:
        made.version_label = label
    return made
