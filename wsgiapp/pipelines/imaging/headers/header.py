"""`Header`: a picture's size, how its transparency is stored, and the memory that decoding it takes."""

from collections.abc import Callable
from dataclasses import dataclass

from wsgiapp.pipelines.imaging.orientation import UPRIGHT

# No file of a camera or a program has as many segments, chunks or tags; each is a step of Python.
MAX_PARTS = 4096


class CutOff(ValueError):
    """A file that says that it is longer than it is."""


class Unsupported(ValueError):
    """A whole file of a kind that is not read; the text says which."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` as they are stored, and what has to be allocated at once where that is more (`tile`).

    `peak_bytes` is what OpenCV 5 allocates at most while it decodes the file, its result included; `more_bytes` what
    may come to it in a file made for that, or stands for time that such a file may take. `orientation` says how the
    picture is turned, `alpha` is true where it may be transparent, `premultiplied` where the decoder gives colours that
    are multiplied by their alpha; `transparent_grey` is the one grey, as a decoder gives it, that is transparent.
    `file` is what to decode in the place of the whole file. `check` is to be called when the size is known to be within
    the limits: it raises `Unsupported` for a file that makes more work than its pixels need, `ValueError` for a damaged
    one.
    """

    width: int
    height: int
    peak_bytes: int
    more_bytes: int = 0
    tile: tuple[int, int] = (0, 0)
    orientation: int = UPRIGHT
    alpha: bool = False
    premultiplied: bool = False
    transparent_grey: int | None = None
    file: bytes | None = None
    check: Callable[[], None] = _nothing
