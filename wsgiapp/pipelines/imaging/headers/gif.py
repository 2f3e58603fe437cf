"""GIF89a, https://www.w3.org/Graphics/GIF/spec-gif89a.txt, appendix F for LZW.

OpenCV makes a new table of 4,096 entries for each clear code, which has as few as 3 bits: 1 MB of them takes it 17
seconds. Encoders clear when the table is full, and those that do not compress, after 254 pixels of 256 colours.
"""

import struct
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, Header, Unsupported

SIGNATURE = b"GIF8"
# Codes of the frame, its place in the canvas with four channels, what is restored later, and the copy given out.
PIXEL_BYTES = 1 + 4 + 4 + 4
MAX_CLEARS = 10_000
MAX_BLOCKS = 100_000  # 255 bytes each
TABLE_CODES, MAX_CODE_BITS = 4096, 12
CODES_AT_ONCE = (256, TABLE_CODES)
EXTENSION, IMAGE = 0x21, 0x2C


def read(data: bytes) -> Header:
    """From the canvas; of the first frame, the clear codes are counted."""
    width, height, flags = struct.unpack_from("<2HB", data, 6)
    position = 13 + (3 << (1 + (flags & 7)) if flags & 0x80 else 0)
    for _ in range(MAX_PARTS):
        kind = data[position]
        if kind == EXTENSION:
            position = _skip_blocks(data, position + 2)
            continue
        if kind != IMAGE:
            break
        local = data[position + 9]
        position += 10 + (3 << (1 + (local & 7)) if local & 0x80 else 0)
        check = partial(_limit_clears, data, position)
        return Header(width, height, width * height * PIXEL_BYTES, alpha=True, check=check)  # each frame has its own
    raise ValueError("no frame")


def _skip_blocks(data: bytes, position: int) -> int:
    for _ in range(MAX_PARTS):
        size = data[position]
        position += 1 + size
        if not size:
            return position
    raise ValueError("too many blocks")


def _blocks(data: bytes, position: int) -> np.ndarray:
    """The data of a frame, as far as it is there, with zeros behind it: the four bytes from each byte on."""
    pieces: list[bytes] = []
    for _ in range(MAX_BLOCKS):
        size = data[position] if position < len(data) else 0
        if not size:
            joined = b"".join(pieces) + bytes(4)
            return np.ndarray(len(joined) - 3, "<u4", joined, strides=(1,))
        pieces.append(data[position + 1 : position + 1 + size])
        position += 1 + size
    raise ValueError("too many blocks")


def _limit_clears(data: bytes, position: int) -> None:
    """Raise `Unsupported` for more clear codes than encoders write; end codes, which clear too, count as such."""
    min_bits, codes = data[position], _blocks(data, position + 1)
    if not 2 <= min_bits < MAX_CODE_BITS:
        raise ValueError("no size of codes")
    layout, clear = _layout(min_bits), 1 << min_bits
    position, end, clears = 0, 8 * (len(codes) - 1), 0
    while position < end:
        position = _next_clear(codes, position, end, clear, layout)
        clears += 1
        if clears > MAX_CLEARS:
            raise Unsupported("a GIF that begins its table of codes again and again; save it again")


def _next_clear(codes: np.ndarray, position: int, end: int, clear: int, layout: "_Layout") -> int:
    """The bit behind the next clear or end code, or behind all codes."""
    first = 0
    for last in CODES_AT_ONCE:
        found = _clear_among(codes, position + layout.starts[first:last], layout.masks[first:last], end, clear)
        if found is not None:
            return position + int(layout.starts[first + found] + layout.bits[first + found])
        first = last
    position += int(layout.starts[-1] + layout.bits[-1])
    while position < end:  # the table is full, and stays so
        found = _clear_among(codes, position + layout.full, layout.full_masks, end, clear)
        if found is not None:
            return position + MAX_CODE_BITS * (found + 1)
        position += MAX_CODE_BITS * TABLE_CODES
    return end


def _clear_among(codes: np.ndarray, places: np.ndarray, masks: np.ndarray, end: int, clear: int) -> int | None:
    if places[-1] >= end:
        places = places[places < end]
    values = (codes[places >> 3] >> (places & 7).astype(np.uint32)) & masks[: len(places)]
    found = np.flatnonzero(values >> 1 == clear >> 1)  # the end code is the one after it
    return int(found[0]) if len(found) else None


class _Layout(NamedTuple):
    """Where the codes after a clear one start, in bits, and how long they are, until the table is full; and then."""

    starts: np.ndarray
    bits: np.ndarray
    masks: np.ndarray
    full: np.ndarray
    full_masks: np.ndarray


@cache
def _layout(min_bits: int) -> _Layout:
    entries = (1 << min_bits) + 1 + np.arange(TABLE_CODES)
    bits = np.full(TABLE_CODES, min_bits + 1)
    for size in range(min_bits + 1, MAX_CODE_BITS):
        bits[entries >= 1 << size] = size + 1
    masks = ((1 << bits) - 1).astype(np.uint32)
    full = MAX_CODE_BITS * np.arange(TABLE_CODES)
    return _Layout(np.concatenate([[0], np.cumsum(bits)[:-1]]), bits, masks, full, np.full_like(masks, 0xFFF))
