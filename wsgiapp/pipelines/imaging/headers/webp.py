"""WebP: RFC 9649, 2 for the container, 3 for lossless pictures; RFC 6386 for lossy ones.

A lossless picture may have 65,536 groups of prefix codes (6.2.2), one for 4 x 4 pixels, each of twenty bits or more, of
which libwebp makes tables of 5 KB: 290 KB become 360 MB. How many there are is known only when the picture has been
decoded in part, so such files are decoded by themselves.
"""

import struct
from dataclasses import replace

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, Header, Unsupported
from wsgiapp.pipelines.imaging.orientation import read_orientation

SIGNATURE = b"RIFF"
ANIMATED, EXIF, ALPHA = 0x02, 0x08, 0x10
# libwebp keeps a lossless picture as numbers of four bytes, and the alpha of a lossy one apart, in two steps.
LOSSLESS_BYTES, LOSSY_ALPHA_BYTES = 4, 2
# Of an animation: the canvas, the one before it, and the frame as a lossless picture.
ANIMATION_BYTES = 4 + 4 + 4
MAX_GROUPS, GROUP_BITS, GROUP_PIXELS, GROUP_BYTES = 65_536, 20, 16, 5_500


def read(data: bytes) -> Header:
    """From the canvas of the extended format, or else from the picture itself."""
    kind, form = data[12:16], data[8:12]
    if form != b"WEBP":
        raise Unsupported("not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
    if kind == b"VP8X":
        return _extended(data)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height, alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
        return _header(data, width, height, alpha=alpha, more=LOSSLESS_BYTES)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (each & 0x3FFF for each in struct.unpack_from("<2H", data, 26))  # above are the bits of a scale
        return _header(data, width, height, alpha=False, more=0)
    raise ValueError("no picture")


def _extended(data: bytes) -> Header:
    flags = data[20]
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    chunks = _chunks(data)
    first = next((kind for kind, _, _ in chunks if kind in (b"VP8 ", b"VP8L")), b"")
    if flags & ANIMATED:
        more = ANIMATION_BYTES
    elif first == b"VP8 ":
        more = LOSSY_ALPHA_BYTES if flags & ALPHA else 0
    else:
        more = LOSSLESS_BYTES
    header = _header(data, width, height, alpha=bool(flags & ALPHA), more=more)
    exif = next((data[start : start + size] for kind, start, size in chunks if kind == b"EXIF"), b"")
    return replace(header, orientation=read_orientation(exif))


def _chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Each chunk's kind, where its data starts, and its size."""
    chunks, position = [], 12
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, position)
        chunks.append((kind, position + 8, size))
        if len(chunks) > MAX_PARTS:
            raise ValueError("too many chunks")
        position += 8 + size + size % 2
    return chunks


def _header(data: bytes, width: int, height: int, *, alpha: bool, more: int) -> Header:
    """`more` is in bytes a pixel, besides those of the result."""
    pixels = width * height
    groups = min(MAX_GROUPS, pixels // GROUP_PIXELS, 8 * len(data) // GROUP_BITS) if more else 0
    return Header(width, height, pixels * ((4 if alpha else 3) + more), more_bytes=groups * GROUP_BYTES, alpha=alpha)
