"""models.config: TF Serving's `ModelServerConfig` in text format, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from wsgiapp.errors import SettingsError
from wsgiapp.protos import ModelServerConfig

PLATFORM = "tensorflow"


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


def single_model(name: str, base_path: str) -> ModelServerConfig:
    """The configuration that `--model_name` and `--model_base_path` stand for."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=str(Path(base_path).absolute()), model_platform=PLATFORM)
    return config


def read(path: Path) -> ModelServerConfig:
    """The message in a file. Raises `SettingsError`, with TF Serving's text where it does not parse."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc
    return parse(text, where=str(path))


def parse(text: str, *, where: str) -> ModelServerConfig:
    """The message in a text; `where` it is from stands in the `SettingsError` of one that does not parse."""
    try:
        return text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as exc:
        problem = "Error parsing text-format tensorflow.serving.ModelServerConfig"
        raise SettingsError(f"{problem}: {where}:{exc}") from exc


def models_of(config: ModelServerConfig, *, where: str) -> dict[str, ModelConfig]:
    """The models of a message, by name. Raises `SettingsError` for what TF Serving refuses."""
    if config.WhichOneof("config") == "custom_model_config":
        raise SettingsError(f"{where}: custom_model_config is not supported; use model_config_list")
    models: dict[str, ModelConfig] = {}
    for each in config.model_config_list.config:
        if each.name in models:
            raise SettingsError(f"{where}: the model {each.name!r} is configured twice")
        models[each.name] = _model(where, each)
    return models


def _model(file: str, config: Any) -> ModelConfig:
    where = f"{file}: model {config.name!r}"
    if not config.name:
        raise SettingsError(f"{file}: a config has no name")
    if not Path(config.base_path).is_absolute():
        raise SettingsError(f"{where}: base_path {config.base_path!r} is not an absolute path")
    if config.model_platform != PLATFORM:
        raise SettingsError(f"{where}: model_platform {config.model_platform!r} is not {PLATFORM!r}")
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    return ModelConfig(
        name=config.name,
        base_path=Path(config.base_path),
        latest=max(1, policy.latest.num_versions) if kind == "latest" else 0,
        specific=frozenset(policy.specific.versions) if kind == "specific" else frozenset(),
        labels=dict(config.version_labels),
    )
