"""What is wrong, or will be, with a `models.config` and the folders it names, before a model server sees it."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wsgiapp.errors import ModelError, SettingsError
from wsgiapp.tfserving import saved_model, version_dirs
from wsgiapp.tfserving.messages import ModelServerConfig
from wsgiapp.tfserving.model_config import ModelConfig, models_of

# Copying a model into place takes longer than this between two files only where something is wrong.
SETTLED_SECONDS = 5.0
SHARD = re.compile(r"variables\.data-\d+-of-(\d+)")


class Finding(NamedTuple):
    """An error keeps the model server from serving what is configured; anything else may do so later.

    `keeps_unready`: while this is so, no version of `model` can become AVAILABLE for the gateway, which its `/readyz`
    waits for; without a `model` that of none.
    """

    is_error: bool
    text: str
    model: str = ""
    keeps_unready: bool = False

    def __str__(self) -> str:
        return f"{'error' if self.is_error else 'warning'}: {self.text}"


def check(config: ModelServerConfig, active: ModelServerConfig | None, *, with_folders: bool = True) -> list[Finding]:
    """The findings for a configuration; `active` is the active one, if there is one.

    Without `with_folders` nothing is said of what the base paths hold, because they are on another machine.
    """
    return list(_findings(config, active, with_folders))


def _findings(config: ModelServerConfig, active: ModelServerConfig | None, with_folders: bool) -> Iterator[Finding]:
    models = config.model_config_list.config
    if not models:
        yield Finding(False, "no model is configured")
    for name, count in Counter(each.name for each in models).items():
        if count > 1:
            yield Finding(True, f"{name}: configured {count} times; names must be unique", keeps_unready=True)
    platforms = {each.name: each.model_platform for each in active.model_config_list.config} if active else {}
    for each in models:
        alone = ModelServerConfig()
        alone.model_config_list.config.append(each)
        try:
            model = models_of(alone, where="models.config")[each.name]
        except SettingsError as exc:
            yield Finding(True, str(exc), keeps_unready=True)
            continue
        if platforms.get(each.name, each.model_platform) != each.model_platform:
            yield Finding(
                True, f"{each.name}: model_platform cannot be changed by a reload; it is {platforms[each.name]!r}"
            )
        if with_folders:
            yield from (finding._replace(model=model.name) for finding in _model(model))


def _model(model: ModelConfig) -> Iterator[Finding]:
    try:
        found = version_dirs.find_versions(model.base_path)
    except OSError as exc:
        yield Finding(True, f"{model.name}: base_path {model.base_path}: {exc.strerror}", keeps_unready=True)
        return
    if not found:
        yield Finding(
            True,
            f"{model.name}: {model.base_path} holds no version directory; put the model into {model.base_path}/1",
            keeps_unready=True,
        )
        return
    wanted = version_dirs.wanted_versions(model, found)
    for version in sorted(model.specific - set(found)):
        yield Finding(
            not wanted,
            f"{model.name}: version {version} is asked for, but there is no such directory",
            keeps_unready=not wanted,
        )
    for version in sorted(wanted):
        troubles = list(_version(found[version]))
        # Another version may serve, and what is still being copied may become whole.
        is_final = len(wanted) == 1 and all(is_error for is_error, _ in troubles)
        for is_error, trouble in troubles:
            yield Finding(is_error, f"{model.name}: version {version}: {trouble}", keeps_unready=is_final)
    yield from _labels(model, found, wanted)


def _labels(model: ModelConfig, found: Mapping[int, Path], wanted: set[int]) -> Iterator[Finding]:
    for label, version in sorted(model.labels.items()):
        where = f"{model.name}: label {label!r} points at version {version}"
        if version not in found:
            yield Finding(True, f"{where}, which is not there", keeps_unready=True)
        elif version not in wanted:
            yield Finding(
                True,
                f"{where}, which the version policy does not load; name it in `specific`, or use `all`",
                keeps_unready=True,
            )
        elif model.latest and len(wanted) == model.latest:
            yield Finding(
                False, f"{where}, which TF Serving unloads when newer ones come; name it in `specific`, or use `all`"
            )


def _version(directory: Path) -> Iterator[tuple[bool, str]]:
    """What is wrong with a version directory: (whether it cannot be loaded, the words)."""
    files = version_dirs.fingerprint(directory)
    age = time.time() - max((changed for _, _, changed, _ in files), default=0) / 1e9
    if age < SETTLED_SECONDS:
        yield False, f"a file changed {max(age, 0.0):.0f} s ago; still being copied?"
    names = {name for name, *_ in files}
    if not version_dirs.has_model(directory):
        yield True, f"it has no {version_dirs.BINARY_FILE}; copied half?"
        return
    if names.isdisjoint({version_dirs.BINARY_FILE, version_dirs.TEXT_FILE}):
        return
    needs_variables = False
    try:
        needs_variables = saved_model.has_variables(saved_model.graph_of(directory))
    except ModelError as exc:
        yield True, str(exc)
    has_index = f"variables/{saved_model.VARIABLES_INDEX}" in names
    shards = [match for name in names if (match := SHARD.fullmatch(name.removeprefix("variables/")))]
    if needs_variables and not has_index and not shards:
        yield True, "the model has variables, but variables/ is missing; copied half?"
    if has_index != bool(shards) or any(int(each[1]) != len(shards) for each in shards):
        yield True, "files of variables/ are missing; copied half?"
