"""The views: each parses a request, calls a plane and answers."""

from typing import NamedTuple

from wsgiapp.inference.data_plane import DataPlane
from wsgiapp.management.control_plane import ControlPlane


class Planes(NamedTuple):
    """What views work with: predictions (`data`), and what is loaded (`control`)."""

    data: DataPlane
    control: ControlPlane
