"""JPEG: ITU-T T.81, B.1.1 for the segments, B.2.2 for the frame."""

import struct
from dataclasses import replace

from wsgiapp.pipelines.imaging.headers.header import MAX_PARTS, Header, Unsupported
from wsgiapp.pipelines.imaging.orientation import UPRIGHT, read_orientation

SIGNATURE = b"\xff\xd8\xff"
# Progressive JPEGs have about 10.
MAX_SCANS = 100
# A scan of next to no data takes 0.6 ns a pixel: 15 scans of 39 million pixels, 100 of 6 million, take 0.4 s.
MAX_SCANNED_PIXELS = 600_000_000
END, SCAN = b"\xff\xd9", b"\xff\xda"
EXIF = b"Exif\0\0"
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
BLOCK, COEFFICIENT_BYTES = 8, 2


def read(data: bytes) -> Header:
    """From the start of frame. Bytes that belong to no segment are skipped as libjpeg skips them."""
    position, frame, orientation = 2, 0, UPRIGHT
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
            if frame:
                _require_end(data, position)
                return replace(_header(data, frame, position), orientation=orientation)
            break
        if marker == 0xE1 and orientation == UPRIGHT and data.startswith(EXIF, position + 2):
            orientation = read_orientation(data[position + 2 + len(EXIF) : position + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame:
                raise ValueError("two frames")
            frame = position
        if length < 2:
            break
        position += length
    raise ValueError("no frame")


def _header(data: bytes, frame: int, scan: int) -> Header:
    kind = data[frame - 1]
    if kind not in (BASELINE, EXTENDED, PROGRESSIVE):
        raise Unsupported("a JPEG of a kind that browsers do not show (arithmetic coding, lossless); save it again")
    height, width, components = struct.unpack_from(">2HB", data, frame + 3)
    pixels = 3 * width * height
    if kind != PROGRESSIVE and data[scan + 2] == components:
        return Header(width, height, pixels)
    _limit_scans(data, width * height)
    return Header(width, height, pixels + _coefficients(data, frame + 8, width, height, components))


def _require_end(data: bytes, scan: int) -> None:
    """libjpeg makes up what is missing in a file that is cut off."""
    if data.rfind(END, scan) < 0:
        raise ValueError("cut off")


def _limit_scans(data: bytes, pixels: int) -> None:
    """A scan goes through all pixels, and takes some twenty bytes."""
    scans = data.count(SCAN)
    if scans > MAX_SCANS or scans * pixels > max(MAX_SCANNED_PIXELS, pixels):
        limit = min(MAX_SCANS, max(1, MAX_SCANNED_PIXELS // max(1, pixels)))
        raise Unsupported(f"a JPEG of more than {limit} scans; save it again, as a baseline one")


def _coefficients(data: bytes, position: int, width: int, height: int, components: int) -> int:
    """The bytes in which all coefficients are kept between scans: of each component, so many blocks a unit (A.1.1)."""
    factors = [divmod(data[position + 3 * i + 1], 16) for i in range(components)]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        raise ValueError("no sampling factors")
    across = -(-width // (BLOCK * max(h for h, _ in factors)))
    down = -(-height // (BLOCK * max(v for _, v in factors)))
    return across * down * sum(h * v for h, v in factors) * BLOCK * BLOCK * COEFFICIENT_BYTES
