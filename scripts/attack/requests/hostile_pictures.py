"""Pictures that take as much memory or time as can be asked for."""

from __future__ import annotations

from collections.abc import Callable

from attack.pictures import PICTURES
from attack.request import PICTURE, post

# Read, rejected, too large; and 504 at the deadline, where several are decoded at the same time.
STATUSES = (200, 400, 413, 504)


def _file(make: Callable[[], bytes]) -> Callable[[int], bytes]:
    return lambda size: make()


REQUESTS = [
    post(name, PICTURE, _file(make), *STATUSES, kind="image/*", Accept="image/png") for name, make in PICTURES.items()
]
