"""PNG: https://www.w3.org/TR/png-3/, 5.3 for the chunks, 11.2.1 for IHDR, 11.3.1.1 for tRNS.

libpng keeps up to 1,000 compressed texts, each of up to 8 MB once inflated, out of 8 KB; and it inflates what follows
the last pixel to its end. The texts and the colour profile are left out before decoding; what pixel data inflates to
is counted where it could be much.
"""

import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from isal import isal_zlib

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, CutOff, Header, Unsupported
from wsgiapp.pipelines.imaging.orientation import read_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# libpng writes 8 KB a chunk of pixel data.
MAX_DATA_PARTS = 32_768
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
LEFT_OUT = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
# Deflate makes at most 1,032 bytes of one, and zlib 2.5 GB of zeros a second. To count them takes a quarter of the time
# that decoding takes.
MAX_UNCOUNTED, MAX_RATIO = 2_500_000_000, 1032
INFLATED_AT_ONCE = 1 << 20
# Data that cannot be compressed grows by a few bytes a block.
SLACK = 1 << 16
# A byte of a decoded picture takes as long as so many zeros that are inflated and thrown away.
INFLATED_AS_ONE = 32
# Frame buffers of an animation besides the picture that is given out: two of OpenCV's own, the frame, and its copy.
ANIMATION_BUFFERS = 4


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of its length, eight bytes before its data
    length: int


def read(data: bytes) -> Header:
    """From the chunks up to the first pixel data."""
    chunks = _chunks(data)
    length, kind, width, height, depth, colours = struct.unpack_from(">I4s2I2B", data, 8)
    if (length, kind) != (13, b"IHDR") or depth not in (1, 2, 4, 8, 16) or colours not in SAMPLES:
        raise ValueError("no valid IHDR in front")
    first_data = next((at for at, chunk in enumerate(chunks) if chunk.kind == b"IDAT"), None)
    if first_data is None:
        raise ValueError("no picture among its chunks")
    header = Header(width, height, 0, alpha=colours in (4, 6), file=_without_texts(data, chunks))
    key = next((chunk for chunk in chunks[:first_data] if chunk.kind == b"tRNS"), None)
    if key:
        grey = _grey(data, key.start + 8, depth) if (colours, key.length) == (0, 2) else None
        header = replace(header, alpha=True, transparent_grey=grey)
    animated = any(chunk.kind == b"acTL" for chunk in chunks[:first_data])
    exif = next((chunk for chunk in chunks if chunk.kind == b"eXIf"), None)
    if exif and not animated:  # OpenCV does not look for it then
        header = replace(header, orientation=read_orientation(data[exif.start + 8 : exif.start + 8 + exif.length]))
    view = memoryview(data)
    pieces = [view[each.start + 8 : each.start + 8 + each.length] for each in chunks if each.kind == b"IDAT"]
    packed = sum(map(len, pieces))
    is_counted = packed * MAX_RATIO > MAX_UNCOUNTED
    size = height * (1 + width * SAMPLES[colours] * depth // 8 + 1)
    return replace(
        header,
        peak_bytes=width * height * _pixel_bytes(header, colours, depth, animated=animated),
        more_bytes=0 if is_counted else packed * MAX_RATIO // INFLATED_AS_ONE,
        check=partial(_limit_inflated, pieces, packed, size, is_counted=is_counted),
    )


def _pixel_bytes(header: Header, colours: int, depth: int, *, animated: bool) -> int:
    """What OpenCV makes of a pixel: 8 bits and three channels where it is opaque, else as it is stored."""
    deep = 2 if depth == 16 else 1
    channels = (1 if colours == 0 else 4) if header.alpha else 3
    if not animated:
        return channels * (deep if header.alpha else 1)
    return channels + ANIMATION_BUFFERS * 4 * deep


def _chunks(data: bytes) -> list[_Chunk]:
    """All chunks up to IEND."""
    chunks: list[_Chunk] = []
    position, others = len(SIGNATURE), 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append(_Chunk(kind, position, length))
        others += kind not in (b"IDAT", b"fdAT")
        if others > MAX_PARTS or len(chunks) > MAX_DATA_PARTS:
            raise ValueError("too many chunks")
        if position + 8 + length > len(data):
            # OpenCV allocates what a chunk says that it has, up to 4 GB, before it reads it.
            raise CutOff("a chunk that ends behind the file")
        if kind == b"IEND":
            break
        position += 12 + length
    return chunks


def _without_texts(data: bytes, chunks: list[_Chunk]) -> bytes | None:
    """The file without texts and colour profile; nothing where it has none."""
    if not any(chunk.kind in LEFT_OUT for chunk in chunks):
        return None
    kept = (chunk for chunk in chunks if chunk.kind not in LEFT_OUT)
    return SIGNATURE + b"".join(data[chunk.start : chunk.start + 12 + chunk.length] for chunk in kept)


def _limit_inflated(pieces: Sequence[memoryview], packed: int, size: int, *, is_counted: bool) -> None:
    """Raise `Unsupported` for pixel data that is, or inflates to, much more than the `size` bytes of the picture."""
    too_much = packed > size + size // 4 + SLACK
    if too_much or (is_counted and _inflates_beyond(pieces, 2 * size + INFLATED_AT_ONCE)):
        raise Unsupported("a PNG whose data goes on behind its last pixel; save it again")


def _inflates_beyond(pieces: Sequence[memoryview], limit: int) -> bool:
    inflater, size = isal_zlib.decompressobj(), 0
    try:
        for piece in pieces:
            rest: bytes | memoryview = piece
            while rest and not inflater.eof:
                size += len(inflater.decompress(rest, INFLATED_AT_ONCE))
                if size > limit:
                    return True
                rest = inflater.unconsumed_tail
    except isal_zlib.error as exc:  # type: ignore[misc]  # typed as an instance
        raise ValueError("not deflated") from exc
    return False


def _grey(data: bytes, position: int, depth: int) -> int:
    """The grey of a tRNS chunk. libpng makes whole bytes of fewer bits: 255 can be divided by 1, 3 and 15."""
    maximum = (1 << depth) - 1
    grey = int.from_bytes(data[position : position + 2]) & maximum
    return grey * (255 // maximum) if depth < 8 else grey
