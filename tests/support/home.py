"""A home folder with a model of three versions, and a model server that is a few lines of code."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from wsgiapp.backend.interface import Target
from wsgiapp.errors import InternalError, InvalidArgument, NotFound, Unimplemented
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.settings.loading import load_settings
from wsgiapp.tfserving import model_config, version_dirs
from wsgiapp.tfserving.messages import ModelServerConfig, ModelVersionStatus, SavedModel
from wsgiapp.tfserving.model_config import ModelConfig

MANAGEMENT_TOKEN = "secret"  # noqa: S105
TEXT = """# ours
model_config_list {
  config {
    name: "m"
    base_path: "@{models}/m"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } }
    version_labels { key: "stable" value: 1 }
  }
}
"""


class Shelf:
    """A model server that loads what the policies ask for, but for versions in `broken`, and checks labels.

    As TF Serving's, a configuration whose versions do not load is active all the same, and the answer is an error.
    """

    def __init__(self) -> None:
        self.in_force = ModelServerConfig()
        self.broken: set[int] = set()
        self.reloads: list[ModelServerConfig] = []
        self.tells = True
        self.on_reload: Callable[[], None] = lambda: None

    def config(self, deadline: float) -> ModelServerConfig:
        if not self.tells:
            raise Unimplemented("no such method")
        return self.in_force

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        assert deadline > time.monotonic()
        self.on_reload()
        models = model_config.models_of(config, where="reload")
        for model in models.values():
            for version in model.labels.values():
                if version not in self._wanted(model) - self.broken:
                    raise InvalidArgument(f"version {version} is not currently available for inference")
        self.reloads.append(config)
        new, self.in_force = config != self.in_force, config
        if new and any(self.broken & self._wanted(model) for model in models.values()):
            raise InternalError("1 servable(s) did not become available: broken")

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        models = model_config.models_of(self.in_force, where="status")
        if target.model not in models:
            raise NotFound("no versions")
        model = models[target.model]
        return [self._status(version) for version in sorted(self._wanted(model), reverse=True)]

    @staticmethod
    def _wanted(model: ModelConfig) -> set[int]:
        return version_dirs.wanted_versions(model, version_dirs.find_versions(model.base_path))

    def _status(self, version: int) -> ModelVersionStatus:
        if version not in self.broken:
            return ModelVersionStatus(version=version, state=ModelVersionStatus.AVAILABLE)
        status = ModelVersionStatus(version=version, state=ModelVersionStatus.END)
        status.status.error_message = "broken"
        return status


class Home:
    """A home folder with versions 1 to 3 of the model `m`, version 1 active."""

    def __init__(self, folder: Path, token: str = MANAGEMENT_TOKEN) -> None:
        (folder / "conf").mkdir()
        (folder / "conf/wsgiapp.toml").write_text(f'[management]\ntoken = "{token}"\nseconds = 1.0\n' + MODELS)
        self.file = folder / "conf/models.config"
        self.file.write_text(TEXT)
        for version in (1, 2, 3):
            directory = folder / f"var/models/m/{version}"
            directory.mkdir(parents=True)
            message = SavedModel()
            message.meta_graphs.add().meta_info_def.tags.append("serve")
            (directory / "saved_model.pb").write_bytes(message.SerializeToString())
            os.utime(directory / "saved_model.pb", (0, 0))  # long in place
        self.settings = load_settings({"WSGIAPP_CONF": str(folder / "conf"), "WSGIAPP_HOME": str(folder / "var")})
        self.shelf = Shelf()
        self.control = ControlPlane(self.settings, self.shelf)
        self.control.reload()

    @property
    def labels(self) -> dict[str, int]:
        """Those in the file, which must be the active ones, and those the model server would start with."""
        rendered = model_config.read(self.settings.run / "models.config")
        assert rendered == self.shelf.in_force
        text = self.file.read_text().replace("@{models}", str(self.settings.home / "models"))
        assert model_config.parse(text, where="file") == self.shelf.in_force
        return dict(rendered.model_config_list.config[0].version_labels)


MODELS = '[models.m]\npipeline = "segmented_text"\n'
