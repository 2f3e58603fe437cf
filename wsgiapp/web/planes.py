"""`Planes`: what the views work with."""

from collections.abc import Callable
from typing import Any, NamedTuple

from wsgiapp.inference.data_plane import DataPlane
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.tfserving.rest_json.limits import DEFAULT_LIMITS, TensorLimits


class Planes(NamedTuple):
    """`data`: predictions. `control`: which models, versions and labels are loaded.

    `instance`: whose process this is. `is_internal`: whether a request, by its environment, may know more than the
    public does. `tensor_limits`: what a request below `/v1/` may ask for, and any answer.
    """

    data: DataPlane
    control: ControlPlane
    instance: str = ""
    is_internal: Callable[[dict[str, Any]], bool] = lambda environ: False
    tensor_limits: TensorLimits = DEFAULT_LIMITS
