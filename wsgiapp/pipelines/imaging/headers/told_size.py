"""`told_size`: the size that the beginning of a file tells of, found in microseconds.

By it requests are sorted before they are read. Nothing relies on its being right: `read_header` is what limits go by.
"""

import struct

from wsgiapp.pipelines.imaging.headers import bmp, gif, jpeg, png, webp

MAX_SEGMENTS = 64
NO_FRAME = (0xC4, 0xC8, 0xCC)  # among the markers of JPEG's frames


def told_size(head: bytes) -> tuple[int, int] | None:
    """Width and height by the first kilobytes of a picture; nothing where they do not tell it, as those of TIFF."""
    try:
        if head.startswith(png.SIGNATURE):
            width, height = struct.unpack_from(">2I", head, 16)
        elif head.startswith(jpeg.SIGNATURE):
            return _jpeg(head)
        elif head.startswith(gif.SIGNATURE):
            width, height = struct.unpack_from("<2H", head, 6)
        elif head.startswith(bmp.SIGNATURE):
            width, height = map(abs, struct.unpack_from("<2i", head, 18))
        elif head.startswith(webp.SIGNATURE):
            return _webp(head)
        else:
            return None
    except struct.error:
        return None
    return width, height


def _jpeg(head: bytes) -> tuple[int, int] | None:
    position = 2
    for _ in range(MAX_SEGMENTS):
        fill, marker, length = struct.unpack_from(">2BH", head, position)
        if fill != 0xFF:
            return None
        if 0xC0 <= marker <= 0xCF and marker not in NO_FRAME:
            height, width = struct.unpack_from(">2H", head, position + 5)
            return width, height
        position += 2 + length
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<2H", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
