"""`Planes`: what the views work with."""

from typing import NamedTuple

from wsgiapp.access.key_guard import KeyGuard
from wsgiapp.access.management_tokens import ManagementTokens
from wsgiapp.inference.data_plane import DataPlane
from wsgiapp.management.control_plane import ControlPlane


class Planes(NamedTuple):
    """`data`: predictions. `control`: which models, versions and labels are loaded.

    `tokens`: who may see and change that. `keys`: who may ask for predictions; `None`: everybody. `instance`: whose
    process this is.
    """

    data: DataPlane
    control: ControlPlane
    tokens: ManagementTokens
    keys: KeyGuard | None = None
    instance: str = ""
