"""Small image files."""

import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np


def photograph(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """A red ball in front of blurred noise, uint8 (height, width, 3) in BGR order: compresses like a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.circle(image, (width // 2, height // 2), min(height, width) // 4, (30, 40, 220), -1, cv2.LINE_AA)


def image_file(image: np.ndarray, extension: str = ".png") -> bytes:
    """An image file of an array in OpenCV's BGR order."""
    return bytes(cv2.imencode(extension, image)[1])


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, depth: int, colours: int, rows: bytes, **chunks: bytes) -> bytes:
    """A PNG file of packed rows, with more chunks in front of the picture."""
    size = len(rows) // height
    filtered = b"".join(b"\0" + rows[top : top + size] for top in range(0, len(rows), size))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colours, 0, 0, 0))
        + b"".join(png_chunk(kind.encode(), data) for kind, data in chunks.items())
        + png_chunk(b"IDAT", zlib.compress(filtered, 9))
        + png_chunk(b"IEND", b"")
    )


def huge_png(width: int, height: int) -> bytes:
    """A well-formed PNG header of that size with next to no data behind it."""
    return png_file(width, height, 1, 0, bytes(2_000_000 // height * height))


def tiff_file(pixels: bytes, tags: Sequence[tuple[int, int, Sequence[int]]], order: str = "<") -> bytes:
    """A TIFF file of one strip, or tile, whose place is added: tags, types (3: 16 bits, 4: 32) and values as given."""
    tiled = any(tag == 322 for tag, _, _ in tags)
    entries = sorted([*tags, (324 if tiled else 273, 4, [0]), (325 if tiled else 279, 4, [len(pixels)])])
    directory, far = b"", b""
    behind = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        data = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(data) > 4:
            data, far = struct.pack(f"{order}I", behind + len(far)), far + data
        if tag in (273, 324):
            data = b"HERE"
        directory += struct.pack(f"{order}2HI", tag, kind, len(values)) + data.ljust(4, b"\0")
    directory = directory.replace(b"HERE", struct.pack(f"{order}I", behind + len(far)))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(entries))
    return head + directory + struct.pack(f"{order}I", 0) + far + pixels


def tiff_tags(width: int, height: int, samples: int, bits: int, photometric: int) -> list[tuple[int, int, list[int]]]:
    """The tags of an uncompressed TIFF: size, bits, no compression, what the samples are."""
    return [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * samples),
        (259, 3, [1]),
        (262, 3, [photometric]),
        (277, 3, [samples]),
    ]


def exif(orientation: int) -> bytes:
    """EXIF data that says how to turn a picture (tag 0x0112)."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with an EXIF block that says how to turn it."""
    return with_segment(jpeg, 0xE1, b"Exif\0\0" + exif(orientation))


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """A JPEG file with a segment more, at its start."""
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


def webp_with_orientation(webp: bytes, width: int, height: int, orientation: int, *, alpha: bool = True) -> bytes:
    """A WebP file in the extended format, with an EXIF chunk behind the picture."""
    flags = bytes([0x18 if alpha else 0x08, 0, 0, 0])
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    data = exif(orientation)
    chunks = webp_chunk(b"VP8X", flags + canvas) + webp[12:] + webp_chunk(b"EXIF", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def webp_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
