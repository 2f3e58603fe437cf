"""A map's file is one that every reader of PNG takes, with every pixel in its place."""

import struct
import zlib

import cv2
import numpy as np
import pytest

from support.images import photograph
from wsgiapp.pipelines.imaging.images import resize_map
from wsgiapp.pipelines.imaging.png import encode_png

RANDOM = np.random.default_rng(4)


def soft_map(height: int, width: int) -> np.ndarray:
    """What a model's map looks like: flat within and without, soft at the edges."""
    small = cv2.GaussianBlur((photograph(80, 60)[..., 1] > 120).astype(np.uint8) * 255, (0, 0), 3)
    return resize_map(small, height, width)


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    position, found = 8, []
    while position < len(file):
        size, kind = struct.unpack_from(">I4s", file, position)
        data = file[position + 8 : position + 8 + size]
        (checksum,) = struct.unpack_from(">I", file, position + 8 + size)
        assert checksum == zlib.crc32(kind + data)
        found.append((kind, data))
        position += 12 + size
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (70, 90), (866, 1155)])
def test_every_pixel_is_kept(shape: tuple[int, int]) -> None:
    noise = RANDOM.integers(0, 256, shape).astype(np.uint8)
    for grey in (noise, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), soft_map(*shape), noise[::-1, ::-1]):
        read = cv2.imdecode(np.frombuffer(encode_png(grey), np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read, grey)


def test_the_file_is_what_the_specification_says() -> None:
    (header, size), (content, packed), end = chunks(encode_png(soft_map(50, 40)))
    assert (header, struct.unpack(">2I5B", size)) == (b"IHDR", (40, 50, 8, 0, 0, 0, 0))
    assert content == b"IDAT"
    assert len(zlib.decompress(packed)) == 50 * (1 + 40)
    assert end == (b"IEND", b"")


def test_it_is_no_larger_than_opencv_s() -> None:
    grey = soft_map(866, 1155)
    assert len(encode_png(grey)) < 1.1 * len(cv2.imencode(".png", grey)[1])
