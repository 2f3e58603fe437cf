"""`ModelRoots`: the folders below which models may be loaded."""

import os
from collections.abc import Iterable
from pathlib import Path

import grpc

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.tfserving.model_config import ModelConfig

ADVICE = "--model_roots (in a stack the setting backend.model_roots) adds folders"


class ModelRoots:
    """A model is a program, and whoever may choose its path may run any: so paths are only taken below these folders.

    Symbolic links are followed first. Those that stay below the roots are as good as folders (`..data` of a volume of
    Kubernetes, `current`).
    """

    def __init__(self, roots: Iterable[Path], first: Iterable[ModelConfig]) -> None:
        """`roots` are joined by the folders that hold the `first` models; without any of their own, all are allowed."""
        own = [str(each) for each in roots]
        places = [place for each in first for place in _places(each.base_path)] if own else ["/"]
        self._roots = list(dict.fromkeys(os.path.realpath(each) for each in [*own, *places]))

    def check_base_path(self, config: ModelConfig) -> None:
        """Raises `ServingError` for a model whose base path is outside."""
        if not self._has(config.base_path):
            raise invalid_argument(
                f"model {config.name!r}: base_path {config.base_path} is {self._outside(config.base_path)}"
            )

    def check_files(self, version: Path) -> None:
        """Raises `ServingError` for a version directory that is outside, or has a link in it that leads outside."""
        self._require(version)
        if "/" in self._roots:
            return
        for folder, folders, files in os.walk(version):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.is_symlink():
                    self._require(path)

    def _require(self, path: Path) -> None:
        if not self._has(path):
            raise ServingError(grpc.StatusCode.PERMISSION_DENIED, f"{path} is {self._outside(path)}")

    def _has(self, path: Path) -> bool:
        real = os.path.realpath(path)
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots)

    def _outside(self, path: Path) -> str:
        real = os.path.realpath(path)
        leads = f", by a symbolic link to {real}," if real != os.path.abspath(path) else ""
        return f"outside the folders that models may be loaded from{leads} ({', '.join(self._roots)}); {ADVICE}"


def _places(base_path: Path) -> list[str]:
    """The folder beside which further models lie, unless it is one of the root folder's own, such as /home."""
    parent = base_path.parent
    return [os.path.realpath(base_path), str(parent if len(parent.parts) > 2 else base_path)]


ANYWHERE = ModelRoots([], [])
