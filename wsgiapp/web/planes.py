"""`Planes`: what the views work with."""

from typing import NamedTuple

from wsgiapp.inference.data_plane import DataPlane
from wsgiapp.management.control_plane import ControlPlane


class Planes(NamedTuple):
    """`data`: predictions. `control`: which models, versions and labels are loaded.

    `instance`: whose process this is.
    """

    data: DataPlane
    control: ControlPlane
    instance: str = ""
