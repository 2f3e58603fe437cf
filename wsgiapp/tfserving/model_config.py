"""models.config: TF Serving's `ModelServerConfig` in text format, read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from wsgiapp.errors import SettingsError
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import ModelServerConfig

PLATFORM = "tensorflow"
MODEL_TYPE_TENSORFLOW = 1  # of the deprecated field model_type, which model_platform has replaced


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
        problem = texts.TEXT_FORMAT_ERROR.format(message="tensorflow.serving.ModelServerConfig")
        raise SettingsError(f"{problem}: {where}:{exc}") from exc


def models_of(config: ModelServerConfig, *, where: str) -> dict[str, ModelConfig]:
    """The models of a message, by name. Raises `SettingsError` for what TF Serving rejects, with its text."""
    if config.WhichOneof("config") == "custom_model_config":
        raise SettingsError(f"{where}: custom_model_config is not supported; use model_config_list")
    models: dict[str, ModelConfig] = {}
    for each in config.model_config_list.config:
        if each.name in models:
            raise SettingsError(
                f"{where}: {texts.DUPLICATE_MODEL.format(name=each.name)}; it is there twice, keep one of the two"
            )
        models[each.name] = _model(where, each)
    return models


def platform_of(config: Any) -> str:
    """The platform that an entry of the list asks for, by the present field or the deprecated one; maybe empty."""
    return config.model_platform or (PLATFORM if config.model_type == MODEL_TYPE_TENSORFLOW else "")


def _model(file: str, config: Any) -> ModelConfig:
    where = f"{file}: model {config.name!r}"
    if not config.name:
        raise SettingsError(f"{file}: a config has no name")
    _check_base_path(where, config)
    _check_platform(where, config)
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific" and not policy.specific.versions:
        raise SettingsError(
            f"{where}: model_version_policy: specific lists no versions; add some, or use all or latest"
        )
    return ModelConfig(
        name=config.name,
        base_path=Path(config.base_path),
        latest=max(1, policy.latest.num_versions) if kind == "latest" else 0,
        specific=frozenset(policy.specific.versions) if kind == "specific" else frozenset(),
        labels=dict(config.version_labels),
    )


def _check_base_path(where: str, config: Any) -> None:
    if "://" in config.base_path:
        raise SettingsError(f"{where}: base_path {config.base_path!r} is a URI; only folders of this machine are read")
    if not Path(config.base_path).is_absolute():
        problem = texts.RELATIVE_BASE_PATH.format(name=config.name, base_path=config.base_path)
        raise SettingsError(f"{where}: {problem}, which is not an absolute path; write it from the root folder on")


def _check_platform(where: str, config: Any) -> None:
    if config.model_type and config.model_platform:
        raise SettingsError(f"{where}: {texts.BOTH_MODEL_TYPES}; keep model_platform")
    platform = platform_of(config)
    if not platform:
        raise SettingsError(f'{where}: {texts.NO_MODEL_TYPE}; add model_platform: "{PLATFORM}"')
    if platform != PLATFORM:
        problem = texts.UNSUPPORTED_PLATFORM.format(name=config.name, platform=platform)
        raise SettingsError(f"{where}: {problem}; model_platform {platform!r} is not {PLATFORM!r}")
