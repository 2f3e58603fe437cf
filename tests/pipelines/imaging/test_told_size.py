"""A size told by the beginning of a file: the same as the whole file's, found without reading it."""

import numpy as np
import pytest

from support.images import image_file, photograph, with_segment
from wsgiapp.pipelines.imaging.headers.readers import read_header
from wsgiapp.pipelines.imaging.headers.told_size import told_size

GIF = b"GIF89a\x05\0\x03\0\x80\0\0"
FILES = {
    "png": image_file(photograph(), ".png"),
    "jpeg": image_file(photograph(), ".jpg"),
    "jpeg after segments": with_segment(image_file(photograph(), ".jpg"), 0xE2, bytes(3000)),
    "bmp": image_file(photograph(), ".bmp"),
    "webp": image_file(photograph(), ".webp"),
    "webp with alpha": image_file(np.dstack([photograph(), photograph()[..., :1]]), ".webp"),
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_the_whole_file_s_size(file: bytes) -> None:
    header = read_header(file)
    assert header
    assert told_size(file[:4096]) == (header.width, header.height) == (64, 48)


def test_gif() -> None:
    assert told_size(GIF) == (5, 3)


@pytest.mark.parametrize(
    "head",
    [b"", b"no picture", *(file[:length] for file in FILES.values() for length in (3, 12, 17)), b"II*\0" + bytes(20)],
)
def test_what_does_not_tell(head: bytes) -> None:
    assert told_size(head) is None


def test_a_jpeg_of_very_many_segments_is_not_searched() -> None:
    assert told_size(b"\xff\xd8" + b"\xff\xe2\0\2" * 5000) is None
