"""What an image file's header says: its size, and how its transparency is stored.

A picture's size is checked before it is decoded, so what is read here must be what the decoder is going to read. A file
that says it twice, or in a way that readers understand differently, is rejected. Sources: ITU-T T.81, B.1.1 (JPEG), the
PNG specification (https://www.w3.org/TR/png-3/), RFC 9649 (WebP), the GIF89a specification, TIFF 6.0, and for BMP the
structures BITMAPINFOHEADER and BITMAPV5HEADER.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

JPEG, PNG, GIF, WEBP, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM"
TIFF_LITTLE, TIFF_BIG = b"II*\0", b"MM\0*"
# No file of a camera or a program has as many segments, chunks or tags; each is a step of Python.
MAX_PARTS = 4096
# Progressive JPEGs have about 10.
MAX_SCANS = 100


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` as they are stored, and what has to be allocated at once where that is more (`tile`).

    `alpha` is true where the picture may be transparent, `premultiplied` where the decoder gives colours that are
    multiplied by their alpha; `transparent_grey` is the one grey, as a decoder gives it, that is transparent.
    """

    width: int
    height: int
    tile: tuple[int, int] = (0, 0)
    alpha: bool = False
    premultiplied: bool = False
    transparent_grey: int | None = None


class Unsupported(ValueError):
    """A whole file of a kind that is not read; the text says which."""


def read_header(data: bytes) -> Header | None:
    """The header of an image file, or nothing for one of another kind.

    Raises `Unsupported`, and `ValueError` for a header that is broken or ambiguous.
    """
    for signature, reader in READERS.items():
        if data.startswith(signature):
            try:
                header = reader(data)
            except (struct.error, IndexError) as exc:
                raise ValueError("cut off") from exc
            if header.width <= 0 or header.height <= 0:
                raise ValueError("no pixels")
            return header
    return None


def _jpeg(data: bytes) -> Header:
    """From the start of frame. Bytes that belong to no segment are skipped as libjpeg skips them."""
    position, frame, components, sequential = 2, None, 0, False
    for _ in range(MAX_PARTS):
        position = data.index(b"\xff", position) + 1
        marker = data[position]
        if marker in (0x00, 0xFF):  # a stuffed byte; fill bytes
            continue
        position += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # TEM and restarts have no length
            continue
        if marker in (0xD8, 0xD9):
            break
        (length,) = struct.unpack_from(">H", data, position)
        if marker == 0xDA:  # the first scan
            if frame and not (sequential and data[position + 2] == components):
                _limit_scans(data)
            if frame:
                return frame
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame:
                raise ValueError("two frames")
            height, width, components = struct.unpack_from(">2HB", data, position + 3)
            frame, sequential = Header(width, height), marker in (0xC0, 0xC1)
        if length < 2:
            break
        position += length
    raise ValueError("no frame")


def _limit_scans(data: bytes) -> None:
    """A scan of all pixels takes some twenty bytes and, for 50 million pixels, a tenth of a second."""
    values = np.frombuffer(data, np.uint8)
    if np.count_nonzero((values[:-1] == 0xFF) & (values[1:] == 0xDA)) > MAX_SCANS:
        raise Unsupported(f"a JPEG of more than {MAX_SCANS} scans; save it again, as a baseline or progressive one")


def _png(data: bytes) -> Header:
    length, kind, width, height, depth, colours = struct.unpack_from(">I4s2I2B", data, 8)
    if (length, kind) != (13, b"IHDR") or depth not in (1, 2, 4, 8, 16):
        raise ValueError("no valid IHDR in front")
    position = 8 + 12 + 13
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            return Header(width, height, alpha=colours in (4, 6))
        if kind == b"tRNS":
            grey = _png_grey(data, position + 8, depth) if (colours, length) == (0, 2) else None
            return Header(width, height, alpha=True, transparent_grey=grey)
        position += 12 + length
    raise ValueError("no picture among its chunks")


def _png_grey(data: bytes, position: int, depth: int) -> int:
    """The grey of a tRNS chunk. libpng makes whole bytes of fewer bits: 255 can be divided by 1, 3 and 15."""
    maximum = (1 << depth) - 1
    grey = int.from_bytes(data[position : position + 2]) & maximum
    return grey * (255 // maximum) if depth < 8 else grey


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<2H", data, 6)
    return Header(width, height, alpha=True)  # each frame says whether it is


def _webp(data: bytes) -> Header:
    kind, form = data[12:16], data[8:12]
    if form != b"WEBP":
        raise Unsupported("not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
    if kind == b"VP8X":
        alpha = bool(data[20] & 0x10)
        return Header(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"), alpha=alpha)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), alpha=bool(bits >> 28 & 1))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<2H", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)  # above are the bits of a scale
    raise ValueError("no picture")


def _bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<2H", data, 18)
        return Header(width, height)
    width, height, _, bits, compression = struct.unpack_from("<2i2HI", data, 18)
    # Without a mask for it, the fourth byte is no alpha, and mostly 0.
    alpha = bits == 32 and compression == 3 and size >= 56 and any(data[66:70])
    return Header(width, abs(height), alpha=alpha)  # negative: the first row is the top one


def _tiff(data: bytes) -> Header:
    tags = _tiff_tags(data)
    bits, samples, extra = tags.get(258, 1), tags.get(277, 1), tags.get(338, 0)
    if bits > 16 or samples > 4 or tags.get(339, 1) not in (1, 4):  # unsigned, or unknown
        raise Unsupported("a TIFF that is read has 1 to 4 unsigned numbers of at most 16 bits a pixel; convert it")
    return Header(
        width=tags[256],
        height=tags[257],
        tile=(tags.get(322, 0), tags.get(323, 0)),
        alpha=samples == 4 and tags.get(262) == 2,
        # libtiff multiplies 8 bits, and leaves 16 as they are stored
        premultiplied=extra == 1 or (extra == 2 and bits <= 8),
    )


def _tiff_tags(data: bytes) -> Mapping[int, int]:
    """The first value of each tag that matters here, in the first directory."""
    order = "<" if data.startswith(TIFF_LITTLE) else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    tags: dict[int, int] = {}
    if count > MAX_PARTS:
        raise ValueError("too many tags")
    for position in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}2HI", data, position)
        if tag not in TIFF_TAGS:
            continue
        if tag in tags or kind not in (3, 4) or (values != 1 and tag in SINGLE_TIFF_TAGS):
            raise ValueError(f"tag {tag} is there twice, or is no number")
        form = f"{order}H" if kind == 3 else f"{order}I"
        place = position + 8
        if values * struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(f"{order}I", data, place)
        (tags[tag],) = struct.unpack_from(form, data, place)
    if not tags.keys() >= {256, 257}:
        raise ValueError("no size")
    return tags


# Width, height, photometric interpretation, samples a pixel, width and height of tiles; the others have as many values
# as a pixel has samples: bits, extra samples, sample format.
SINGLE_TIFF_TAGS = {256, 257, 262, 277, 322, 323}
TIFF_TAGS = {*SINGLE_TIFF_TAGS, 258, 338, 339}

READERS: Mapping[bytes, Callable[[bytes], Header]] = {
    JPEG: _jpeg,
    PNG: _png,
    WEBP: _webp,
    GIF: _gif,
    BMP: _bmp,
    TIFF_LITTLE: _tiff,
    TIFF_BIG: _tiff,
}
