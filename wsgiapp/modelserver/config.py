"""models.config: TF Serving's `ModelServerConfig` in text format, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from wsgiapp.errors import SettingsError
from wsgiapp.protos import ModelServerConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model: where its versions lie, which of them to load, and what they are called.

    `latest` is the number of newest versions, `specific` lists versions instead; with neither (`latest` 0), all.
    """

    name: str
    base_path: Path
    latest: int = 1
    specific: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)


def single_model(name: str, base_path: str) -> dict[str, ModelConfig]:
    """The configuration that `--model_name` and `--model_base_path` stand for."""
    return {name: ModelConfig(name, Path(base_path).absolute())}


def read(path: Path) -> dict[str, ModelConfig]:
    """The models of a file, by name. Raises `SettingsError`, with TF Serving's text where it does not parse."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc
    try:
        message = text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as exc:
        problem = "Error parsing text-format tensorflow.serving.ModelServerConfig"
        raise SettingsError(f"{problem}: {path}:{exc}") from exc
    models: dict[str, ModelConfig] = {}
    for each in message.model_config_list.config:
        if each.name in models:
            raise SettingsError(f"{path}: the model {each.name!r} is configured twice")
        models[each.name] = _model(path, each)
    return models


def _model(path: Path, config: Any) -> ModelConfig:
    where = f"{path}: model {config.name!r}"
    if not config.name:
        raise SettingsError(f"{path}: a config has no name")
    if not Path(config.base_path).is_absolute():
        raise SettingsError(f"{where}: base_path {config.base_path!r} is not an absolute path")
    if config.model_platform != "tensorflow":
        raise SettingsError(f"{where}: model_platform {config.model_platform!r} is not 'tensorflow'")
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    return ModelConfig(
        name=config.name,
        base_path=Path(config.base_path),
        latest=max(1, policy.latest.num_versions) if kind == "latest" else 0,
        specific=frozenset(policy.specific.versions) if kind == "specific" else frozenset(),
        labels=dict(config.version_labels),
    )
