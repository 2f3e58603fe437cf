"""WebP: RFC 9649, 2 for the container, 3 for lossless pictures; RFC 6386 for lossy ones."""

import struct

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, Header, Unsupported

SIGNATURE = b"RIFF"
ANIMATED, ALPHA = 0x02, 0x10
# libwebp keeps a lossless picture as numbers of four bytes, and the alpha of a lossy one apart, in two steps.
LOSSLESS_BYTES, LOSSY_ALPHA_BYTES = 4, 2
# Of an animation: the canvas, the one before it, and the frame as a lossless picture.
ANIMATION_BYTES = 4 + 4 + 4


def read(data: bytes) -> Header:
    """From the canvas of the extended format, or else from the picture itself."""
    kind, form = data[12:16], data[8:12]
    if form != b"WEBP":
        raise Unsupported("not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
    if kind == b"VP8X":
        flags = data[20]
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        alpha = bool(flags & ALPHA)
        if flags & ANIMATED:
            return _header(width, height, alpha=alpha, more=ANIMATION_BYTES)
        more = LOSSLESS_BYTES if _is_lossless(data) else LOSSY_ALPHA_BYTES if alpha else 0
        return _header(width, height, alpha=alpha, more=more)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height, alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
        return _header(width, height, alpha=alpha, more=LOSSLESS_BYTES)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<2H", data, 26)
        return _header(width & 0x3FFF, height & 0x3FFF, alpha=False, more=0)  # above are the bits of a scale
    raise ValueError("no picture")


def _is_lossless(data: bytes) -> bool:
    """Whether the first picture among the chunks is."""
    position = 12
    for _ in range(MAX_PARTS):
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8L"
        position += 8 + size + size % 2
    raise ValueError("too many chunks")


def _header(width: int, height: int, *, alpha: bool, more: int) -> Header:
    """`more` is in bytes a pixel, besides those of the result."""
    return Header(width, height, width * height * ((4 if alpha else 3) + more), alpha=alpha)
