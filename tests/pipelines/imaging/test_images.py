"""Image files are read as they look, and rejected before they do harm."""

import io
import pickletools

import cv2
import numpy as np
import pytest

from support.images import huge_png, image_file, photograph, with_orientation
from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.imaging.images import decode_image, encode_npy, encode_pickle, encode_png, resize_map, stretch
from wsgiapp.pipelines.pipeline import ImageLimits

LIMITS = ImageLimits()
BGR = photograph(60, 40)
RGB = BGR[..., ::-1]


@pytest.mark.parametrize("extension", [".png", ".bmp", ".tiff", ".webp", ".gif", ".jpg"])
def test_formats_come_out_in_rgb_order(extension: str) -> None:
    lossless = extension in (".png", ".bmp", ".tiff")
    decoded = decode_image("img", image_file(BGR, extension), LIMITS)
    assert (decoded.shape, decoded.dtype) == (RGB.shape, np.uint8)
    assert np.abs(decoded.astype(int) - RGB).mean() < (0.01 if lossless else 30)


def test_grey_and_16_bit() -> None:
    grey = BGR[..., 0]
    np.testing.assert_array_equal(decode_image("img", image_file(grey), LIMITS), np.dstack([grey] * 3))
    deep = decode_image("img", image_file(BGR.astype(np.uint16) * 257), LIMITS)
    assert np.abs(deep.astype(int) - RGB).max() <= 1


@pytest.mark.parametrize("scale", [1, 257])
def test_transparency_is_laid_over_white(scale: int) -> None:
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:20], alpha[20:30] = 0, 128
    file = image_file(np.dstack([BGR, alpha]).astype(np.uint8 if scale == 1 else np.uint16) * scale)
    decoded = decode_image("img", file, LIMITS).astype(int)
    assert (decoded[:20] == 255).all()
    np.testing.assert_array_equal(decoded[30:], RGB[30:])
    half = RGB[20:30] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(decoded[20:30] - half).max() <= 1


def test_exif_turns_the_picture() -> None:
    upright = image_file(BGR, ".jpg")
    plain = decode_image("img", upright, LIMITS)
    turned = decode_image("img", with_orientation(upright, 6), LIMITS)
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_rejected(extension: str, kept: float) -> None:
    file = image_file(photograph(200, 150), extension)
    with pytest.raises(InvalidField, match="img: an image file"):
        decode_image("img", file[: int(len(file) * kept)], LIMITS)


@pytest.mark.parametrize(
    "data", [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", b"%PDF-1.7"]
)
def test_other_files_are_rejected(data: bytes) -> None:
    with pytest.raises(InvalidField, match="img: not an image"):
        decode_image("img", data, LIMITS)


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0"]
)
def test_bare_signatures_are_rejected(data: bytes) -> None:
    with pytest.raises(InvalidField, match="img: an image file with a broken header"):
        decode_image("img", data, LIMITS)


def test_an_empty_file_is_rejected() -> None:
    with pytest.raises(InvalidField, match="img: empty"):
        decode_image("img", b"", LIMITS)


def test_a_huge_picture_is_rejected_by_its_header() -> None:
    bomb = huge_png(40_000, 40_000)
    assert len(bomb) < 5_000
    with pytest.raises(TooLarge, match="img: 40000 x 40000 pixels; the limit is 50,000,000"):
        decode_image("img", bomb, LIMITS)
    with pytest.raises(TooLarge):
        decode_image("img", image_file(BGR), ImageLimits(pixels=60 * 40 - 1))
    assert decode_image("img", image_file(BGR), ImageLimits(pixels=60 * 40)).shape == (40, 60, 3)


def test_stretch() -> None:
    np.testing.assert_array_equal(stretch(np.array([[0.2, 0.3, 0.4]], np.float32)), [[0, 128, 255]])
    assert (stretch(np.full((2, 2), 0.7, np.float32)) == 0).all()


def test_a_map_keeps_its_range_in_other_sizes() -> None:
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (320, 1))
    for height, width in ((4, 4), (320, 320), (700, 500), (1, 1), (1000, 3)):
        resized = resize_map(ramp, height, width)
        assert (resized.shape, resized.dtype) == ((height, width), np.uint8)
        assert abs(float(resized.mean()) - 127.5) < 3


def test_encodings() -> None:
    mask = BGR[..., 0]
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(encode_png(mask), np.uint8), cv2.IMREAD_UNCHANGED), mask)
    np.testing.assert_array_equal(np.load(io.BytesIO(encode_npy(mask)), allow_pickle=False), mask)


def test_a_pickle_names_only_what_every_numpy_has() -> None:
    mask = np.frombuffer(b"cnumpy._core.multiarray\n" * 10, np.uint8).reshape(10, -1)
    pickled = encode_pickle(mask)
    operations = list(pickletools.genops(pickled))
    names = {argument for opcode, argument, _ in operations if opcode.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "_codecs encode"}
    assert operations[0][1] == 2, "a protocol that Python 2 cannot read"
    import pickle

    np.testing.assert_array_equal(pickle.loads(pickled), mask)
