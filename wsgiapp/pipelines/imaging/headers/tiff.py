"""TIFF 6.0: section 2 for the directory, 8 for the tags of every picture, 15 for tiles, 18 for extra samples."""

import struct
from collections.abc import Mapping

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, Header, Unsupported
from wsgiapp.pipelines.imaging.orientation import STEPS, UPRIGHT

LITTLE, BIG = b"II*\0", b"MM\0*"
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, ROWS_PER_STRIP, ORIENTATION = 277, 278, 274
TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, SAMPLE_FORMAT = 322, 323, 338, 339
SINGLE = {
    WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, SAMPLES, ROWS_PER_STRIP, ORIENTATION, TILE_WIDTH, TILE_HEIGHT,
}  # fmt: skip
# The others have as many values as a pixel has samples.
TAGS = {*SINGLE, BITS, EXTRA_SAMPLES, SAMPLE_FORMAT}
# None, the three of CCITT, LZW, JPEG, deflate by its two numbers, PackBits. A JPEG within may have hundreds of scans in
# each of its strips, which may be the same bytes again and again: baseline ones alone are read.
COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32946, 32773}
JPEG, PROGRESSIVE_FRAME, SCAN = 7, b"\xff\xc2", b"\xff\xda"


def read(data: bytes) -> Header:
    """From the first directory."""
    tags, places = _tags(data)
    bits, samples, extra = tags.get(BITS, 1), tags.get(SAMPLES, 1), tags.get(EXTRA_SAMPLES, 0)
    if bits > 16 or samples > 4 or tags.get(SAMPLE_FORMAT, 1) not in (1, 4):  # unsigned, or unknown
        raise Unsupported("a TIFF that is read has 1 to 4 unsigned numbers of at most 16 bits a pixel; convert it")
    orientation = tags.get(ORIENTATION, UPRIGHT)
    alpha = samples == 4 and tags.get(PHOTOMETRIC) == 2
    _limit_compression(data, tags)
    return Header(
        width=tags[WIDTH],
        height=tags[HEIGHT],
        peak_bytes=_peak_bytes(tags, samples, bits, alpha=alpha),
        tile=(tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0)),
        orientation=orientation if orientation in STEPS else UPRIGHT,
        alpha=alpha,
        # libtiff multiplies 8 bits, and leaves 16 as they are stored
        premultiplied=extra == 1 or (extra == 2 and bits <= 8),
        file=None if orientation == UPRIGHT else _upright(data, places[ORIENTATION]),
    )


def _peak_bytes(tags: Mapping[int, int], samples: int, bits: int, *, alpha: bool) -> int:
    """The picture, and a strip or tile as it is stored and as OpenCV wants it."""
    width, height = tags[WIDTH], tags[HEIGHT]
    deep = 2 if bits > 8 else 1
    given = (4 * deep if alpha else 3) * width * height
    if tags.get(TILE_WIDTH, 0):
        piece = tags[TILE_WIDTH] * tags.get(TILE_HEIGHT, 0)
    else:
        piece = width * min(height, tags.get(ROWS_PER_STRIP, height) or height)
    return given + piece * (4 * (deep if alpha else 1) + samples * deep)


def _limit_compression(data: bytes, tags: Mapping[int, int]) -> None:
    if tags.get(COMPRESSION, 1) not in COMPRESSIONS:
        raise Unsupported("a TIFF that is read is compressed by LZW, deflate, JPEG, PackBits, CCITT or not; convert it")
    if tags.get(COMPRESSION) == JPEG and PROGRESSIVE_FRAME in data:
        raise Unsupported("a TIFF of progressive JPEGs; convert it")


def _upright(data: bytes, place: int) -> bytes:
    """The file with another orientation: OpenCV would turn the picture as a whole."""
    value = struct.pack("<H" if data.startswith(LITTLE) else ">H", UPRIGHT)
    return data[:place] + value + data[place + len(value) :]


def _tags(data: bytes) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """The first value of each tag that matters here, in the first directory, and where it stands."""
    order = "<" if data.startswith(LITTLE) else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    tags: dict[int, int] = {}
    places: dict[int, int] = {}
    if count > MAX_PARTS:
        raise ValueError("too many tags")
    for position in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}2HI", data, position)
        if tag not in TAGS:
            continue
        if tag in tags or kind not in (3, 4) or (kind == 4 and tag == ORIENTATION) or (values != 1 and tag in SINGLE):
            raise ValueError(f"tag {tag} is there twice, or is no number")
        form = f"{order}H" if kind == 3 else f"{order}I"
        place = position + 8
        if values * struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(f"{order}I", data, place)
        (tags[tag],) = struct.unpack_from(form, data, place)
        places[tag] = place
    if not tags.keys() >= {WIDTH, HEIGHT}:
        raise ValueError("no size")
    _limit_pages(data, order, directory + 2 + 12 * count)
    return tags, places


def _limit_pages(data: bytes, order: str, position: int) -> None:
    """OpenCV counts all pages before it reads the first; each takes as few as six bytes."""
    for _ in range(MAX_PARTS):
        if position + 4 > len(data):
            return
        (directory,) = struct.unpack_from(f"{order}I", data, position)
        if not directory or directory + 2 > len(data):
            return
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        position = directory + 2 + 12 * count
    raise ValueError("too many pages")
