"""The pipelines that installed packages offer."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from wsgiapp.errors import SettingsError
from wsgiapp.pipelines.pipeline import Pipeline, Resources

ENTRY_POINT_GROUP = "wsgiapp.pipelines"


def create(name: str, options: Mapping[str, Any], resources: Resources) -> Pipeline:
    """The pipeline that an installed package offers under `name`, imported only now."""
    offered = _offered()
    if name not in offered:
        raise SettingsError(f'pipeline = "{name}": no such pipeline; installed are {", ".join(sorted(offered))}')
    pipeline: Pipeline = offered[name].load()(options, resources)
    return pipeline


@cache
def _offered() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
