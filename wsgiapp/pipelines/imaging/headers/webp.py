"""WebP: RFC 9649, 2 for the container, 3 for lossless pictures; RFC 6386 for lossy ones."""

import struct
from dataclasses import replace

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, Header, Unsupported
from wsgiapp.pipelines.imaging.headers.vp8l import count_groups
from wsgiapp.pipelines.imaging.orientation import read_orientation

SIGNATURE = b"RIFF"
ANIMATED, EXIF, ALPHA = 0x02, 0x08, 0x10
# libwebp keeps a lossless picture as numbers of four bytes, and the alpha of a lossy one apart, in two steps.
LOSSLESS_BYTES, LOSSY_ALPHA_BYTES = 4, 2
# Of an animation: the canvas, the one before it, and the frame as a lossless picture.
ANIMATION_BYTES = 4 + 4 + 4
GROUP_BYTES = 20_000  # of tables, where its codes are as long as they can be
LOSSLESS_HEADER = 5
# Of a frame, in front of its chunks, and where its size stands among them; how its alpha is stored.
FRAME_HEADER, FRAME_SIZE, ALPHA_IS_LOSSLESS = 16, 6, 1


def read(data: bytes) -> Header:
    """From the canvas of the extended format, or else from the picture itself."""
    kind, form = data[12:16], data[8:12]
    if form != b"WEBP":
        raise Unsupported("not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
    if kind == b"VP8X":
        return _extended(data)
    if kind == b"VP8L" and data[20] == 0x2F:
        width, height, alpha = _lossless_size(data, 20)
        return _header(width, height, alpha=alpha, more=LOSSLESS_BYTES, groups=_groups(data, 12, len(data), 0, 0))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (each & 0x3FFF for each in struct.unpack_from("<2H", data, 26))  # above are the bits of a scale
        return _header(width, height, alpha=False, more=0)
    raise ValueError("no picture")


def _extended(data: bytes) -> Header:
    flags = data[20]
    width, height = _size(data, 24)
    chunks = _chunks(data, 12, len(data))
    groups = _groups(data, 12, len(data), width, height)
    first = next((kind for kind, _, _ in chunks if kind in (b"VP8 ", b"VP8L")), b"")
    if flags & ANIMATED:
        more = ANIMATION_BYTES
        frame = next((start for kind, start, _ in chunks if kind == b"ANMF"), None)
        if frame is not None:
            groups += _groups(data, frame + FRAME_HEADER, len(data), *_size(data, frame + FRAME_SIZE))
    elif first == b"VP8 ":
        more = LOSSY_ALPHA_BYTES if flags & ALPHA else 0
    else:
        more = LOSSLESS_BYTES
    exif = next((data[start : start + size] for kind, start, size in chunks if kind == b"EXIF"), b"")
    header = _header(width, height, alpha=bool(flags & ALPHA), more=more, groups=groups)
    return replace(header, orientation=read_orientation(exif))


def _groups(data: bytes, position: int, end: int, width: int, height: int) -> int:
    """The groups of codes in the first picture among the chunks from `position` on, and in its alpha, of that size."""
    groups = 0
    view = memoryview(data)
    for kind, start, size in _chunks(data, position, end):
        if kind == b"VP8L":
            return groups + count_groups(view[start + LOSSLESS_HEADER : start + size], *_lossless_size(data, start)[:2])
        if kind == b"VP8 " or (kind == b"ANMF" and position == 12):
            break
        if kind == b"ALPH" and data[start] & 3 == ALPHA_IS_LOSSLESS and not groups:
            groups = count_groups(view[start + 1 : start + size], width, height)
    return groups


def _lossless_size(data: bytes, start: int) -> tuple[int, int, bool]:
    """Width, height, and whether there is alpha."""
    (bits,) = struct.unpack_from("<I", data, start + 1)
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)


def _size(data: bytes, position: int) -> tuple[int, int]:
    """Two numbers of three bytes, each one less than it says."""
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (position, position + 3))
    return width, height


def _chunks(data: bytes, position: int, end: int) -> list[tuple[bytes, int, int]]:
    """Each chunk's kind, where its data starts, and its size."""
    chunks: list[tuple[bytes, int, int]] = []
    while position + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, position)
        chunks.append((kind, position + 8, size))
        if len(chunks) > MAX_PARTS:
            raise ValueError("too many chunks")
        position += 8 + size + size % 2
    return chunks


def _header(width: int, height: int, *, alpha: bool, more: int, groups: int = 0) -> Header:
    """`more` is in bytes a pixel, besides those of the result."""
    peak = width * height * ((4 if alpha else 3) + more)
    return Header(width, height, peak, more_bytes=groups * GROUP_BYTES, alpha=alpha)
