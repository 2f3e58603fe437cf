"""`Planes`: what the views work with."""

from collections.abc import Callable
from typing import Any, NamedTuple

from wsgiapp.access.key_guard import KeyGuard
from wsgiapp.access.management_tokens import ManagementTokens
from wsgiapp.inference.data_plane import DataPlane
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.tfserving.rest_json.limits import DEFAULT_LIMITS, TensorLimits


class Planes(NamedTuple):
    """`data`: predictions. `control`: which models, versions and labels are loaded.

    `tokens`: who may see and change that. `keys`: who may ask for predictions; `None`: everybody. `instance`: whose
    process this is. `is_internal`: whether a request, by its environment, may know more than the public does.
    `tensor_limits`: what a request below `/v1/` may ask for, and any answer.
    """

    data: DataPlane
    control: ControlPlane
    tokens: ManagementTokens
    keys: KeyGuard | None = None
    instance: str = ""
    is_internal: Callable[[dict[str, Any]], bool] = lambda environ: False
    tensor_limits: TensorLimits = DEFAULT_LIMITS
