"""`changes`: what differs between two configurations of the model server, for the audit log."""

from typing import Any

from wsgiapp.tfserving.messages import ModelServerConfig


def changes(before: ModelServerConfig, after: ModelServerConfig) -> dict[str, Any]:
    """By model: each part that differs as `[before, after]`; `None` for what was not there, or is not any more."""
    old, new = _parts(before), _parts(after)
    return {
        model: {
            part: [old.get(model, {}).get(part), new.get(model, {}).get(part)]
            for part in ("base_path", "versions", "labels")
            if old.get(model, {}).get(part) != new.get(model, {}).get(part)
        }
        for model in sorted(old.keys() | new.keys())
        if old.get(model) != new.get(model)
    }


def _parts(config: ModelServerConfig) -> dict[str, dict[str, Any]]:
    return {
        each.name: {
            "base_path": each.base_path,
            "versions": " ".join(str(each.model_version_policy).split()),
            "labels": dict(sorted(each.version_labels.items())),
        }
        for each in config.model_config_list.config
    }
