"""The views: each parses a request, calls a plane and answers."""

from typing import NamedTuple

from wsgiapp.controlplane import ControlPlane
from wsgiapp.dataplane import DataPlane


class Planes(NamedTuple):
    """What views work with: predictions (`data`), and what is loaded (`control`)."""

    data: DataPlane
    control: ControlPlane
