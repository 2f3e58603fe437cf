"""Small image files."""

import io
import struct
import zlib

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


def huge_png(width: int, height: int) -> bytes:
    """A well-formed PNG header of that size with next to no data behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)))
    file.write(chunk(b"IDAT", zlib.compress(bytes(2_000_000), 9)))
    file.write(chunk(b"IEND", b""))
    return file.getvalue()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """A JPEG file with an EXIF block that says how to turn it (tag 0x0112)."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]
