"""Image files are read as they look, and rejected before they do harm."""

import io
import pickletools
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from support.images import (
    exif,
    huge_png,
    image_file,
    photograph,
    png_file,
    tiff_file,
    tiff_tags,
    webp_with_orientation,
    with_orientation,
)
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


# Two rows of three pixels, grey and alpha, and how they look over white: opaque, half, transparent.
GREYS = np.array([[0, 100, 200], [50, 60, 70]], np.uint8)
ALPHAS = np.array([[255, 128, 0], [255, 0, 128]], np.uint8)
OVER_WHITE = np.array([[0, 177, 255], [50, 255, 162]], np.uint8)
#: How a picture with each EXIF orientation is turned (EXIF 2.32, 4.6.4, tag 0x0112).
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.swapaxes(stored, 0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(np.swapaxes(stored, 0, 1), 2),
    8: lambda stored: np.rot90(stored, 1),
}


def three(grey: np.ndarray) -> np.ndarray:
    return np.dstack([grey] * 3)


def grey_alpha_png(scale: int = 1, **chunks: bytes) -> bytes:
    rows = np.dstack([GREYS, ALPHAS]).astype(np.uint16) * scale
    return png_file(3, 2, 8 if scale == 1 else 16, 4, rows.astype(">u2" if scale > 1 else np.uint8).tobytes(), **chunks)


def palette_png(**chunks: bytes) -> bytes:
    """Three colours of a palette, the second half transparent, the third wholly."""
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return png_file(3, 2, 8, 3, bytes([0, 1, 2, 2, 1, 0]), PLTE=palette, tRNS=bytes([255, 128, 0]), **chunks)


PALETTE_OVER_WHITE = np.array([[255, 0, 0], [127, 255, 127], [255, 255, 255]], np.uint8)[[[0, 1, 2], [2, 1, 0]]]


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_pictures_of_every_kind(orientation: int) -> None:
    turn, chunk = TURNS[orientation], {"eXIf": exif(orientation)}
    colours = image_file(np.dstack([BGR, np.full(BGR.shape[:2], 255, np.uint8)]), ".webp")
    kinds = {
        "grey": (png_file(3, 2, 8, 0, GREYS.tobytes(), **chunk), three(GREYS)),
        "grey and alpha": (grey_alpha_png(**chunk), three(OVER_WHITE)),
        "16 bits of grey and alpha": (grey_alpha_png(257, **chunk), three(OVER_WHITE)),
        "palette": (palette_png(**chunk), PALETTE_OVER_WHITE),
        "transparent grey": (png_file(3, 2, 8, 0, GREYS.tobytes(), tRNS=b"\0\x3c", **chunk), transparent(GREYS, 60)),
        "WebP": (webp_with_orientation(colours, 60, 40, orientation), RGB),
        "opaque WebP": (
            webp_with_orientation(image_file(BGR, ".webp"), 60, 40, orientation, alpha=False),
            RGB,
        ),
        "TIFF": (tiff_file(RGB.tobytes(), [*tiff_tags(60, 40, 3, 8, 2), (274, 3, [orientation])]), RGB),
        "TIFF of 16 bits": (
            tiff_file((GREYS * np.uint16(257)).tobytes(), [*tiff_tags(3, 2, 1, 16, 1), (274, 3, [orientation])]),
            three(GREYS),
        ),
    }
    for kind, (file, upright) in kinds.items():
        decoded = decode_image("img", file, LIMITS)
        np.testing.assert_array_equal(decoded, turn(upright), err_msg=kind)


def transparent(greys: np.ndarray, *which: int) -> np.ndarray:
    return three(np.where(np.isin(greys, which), 255, greys).astype(np.uint8))


def test_one_grey_of_a_png_may_be_transparent() -> None:
    for depth, rows, grey, right in (
        (8, GREYS.tobytes(), 100, transparent(GREYS, 100)),
        (8, GREYS.tobytes(), 101, three(GREYS)),
        (8, GREYS.tobytes(), 0x0164, transparent(GREYS, 100)),  # the upper bits are not the sample's
        (16, (GREYS.astype(">u2") * 257).tobytes(), 100 * 257, transparent(GREYS, 100)),
        (16, (GREYS.astype(">u2") * 257).tobytes(), 100 * 257 + 1, three(GREYS)),
        (4, bytes([0x0F, 0x80]), 8, np.array([[[0] * 3, [255] * 3, [255] * 3]])),
        (2, bytes([0b00011011]), 1, np.array([[[0] * 3, [255] * 3, [170] * 3, [255] * 3]])),
        (1, bytes([0b10100000]), 0, np.full((1, 3, 3), 255)),
    ):
        width, height = right.shape[1], right.shape[0]
        file = png_file(width, height, depth, 0, rows, tRNS=struct.pack(">H", grey))
        np.testing.assert_array_equal(decode_image("img", file, LIMITS), right, err_msg=f"{depth} bits, {grey}")


def test_one_colour_of_a_png_may_be_transparent() -> None:
    for bits, kind, scale in ((8, ">u1", 1), (16, ">u2", 257)):
        rows = (RGB[:2, :3].astype(np.uint16) * scale).astype(kind)
        key = struct.pack(">3H", *(int(value) * scale for value in RGB[0, 1]))
        decoded = decode_image("img", png_file(3, 2, bits, 2, rows.tobytes(), tRNS=key), LIMITS)
        right = RGB[:2, :3].copy()
        right[(right == RGB[0, 1]).all(-1)] = 255
        np.testing.assert_array_equal(decoded, right)


def test_a_transparency_that_is_none_changes_nothing() -> None:
    for chunk in (b"", b"\0", b"\0\x64\0"):
        np.testing.assert_array_equal(
            decode_image("img", png_file(3, 2, 8, 0, GREYS.tobytes(), tRNS=chunk), LIMITS), three(GREYS)
        )


def test_a_gif_s_transparent_pixels_are_white() -> None:
    palette = bytes([200, 0, 0, 0, 0, 200])
    head = b"GIF89a" + struct.pack("<2H3B", 2, 1, 0x80, 0, 0) + palette
    picture = b"," + struct.pack("<4HB", 0, 0, 2, 1, 0) + bytes([2, 2, 0b01000100, 0b00001010, 0]) + b";"
    for control, right in ((b"", [[200, 0, 0], [0, 0, 200]]), (b"!\xf9\4\1\0\0\1\0", [[200, 0, 0], [255] * 3])):
        np.testing.assert_array_equal(decode_image("img", head + control + picture, LIMITS), [right])


@pytest.mark.parametrize("extension", [".png", ".webp", ".gif"])
def test_of_an_animation_the_first_frame_is_read(extension: str) -> None:
    """Its transparency too; a frame that lies outside the picture is damage."""
    first, second = (np.full((4, 6, 4), (*colour, 255), np.uint8) for colour in ((0, 0, 255), (255, 0, 0)))
    first[0, 0, 3] = 0
    animation = cv2.Animation()
    animation.frames, animation.durations = [first, second], [100, 100]
    file = bytes(cv2.imencodeanimation(extension, animation)[1])
    decoded = decode_image("img", file, LIMITS).astype(int)
    assert (decoded[0, 0] == 255).all()
    assert np.abs(decoded[2:] - (255, 0, 0)).max() < 30
    if extension == ".png":
        at = file.index(b"fcTL")
        frame = file[at : at + 8] + struct.pack(">I", 2**31 - 1) + file[at + 12 : at + 30]
        broken = file[:at] + frame + struct.pack(">I", zlib.crc32(frame)) + file[at + 34 :]
        with pytest.raises(InvalidField, match="img: an image file that is damaged"):
            decode_image("img", broken, LIMITS)


def test_a_bmp_is_opaque_unless_it_has_a_mask_for_alpha() -> None:
    """The fourth byte of others is unused, and mostly 0."""
    bgra = np.dstack([BGR, np.zeros(BGR.shape[:2], np.uint8)])
    pixels = bgra[::-1].tobytes()
    header = struct.pack("<I2iHHIIiiII", 40, 60, 40, 1, 32, 0, len(pixels), 0, 0, 0, 0)
    unmasked = b"BM" + struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54) + header + pixels
    np.testing.assert_array_equal(decode_image("img", unmasked, LIMITS), RGB)
    assert (decode_image("img", image_file(bgra, ".bmp"), LIMITS) == 255).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
def test_a_tiff_s_alpha_may_be_multiplied_in(extra: int | None, bits: int, order: str) -> None:
    """ExtraSamples (TIFF 6.0, section 18): 1 is alpha that the colours are multiplied by, 2 is other alpha."""
    colours, alpha = np.array([[[200, 100, 50]], [[10, 20, 30]]]), np.array([[[128]], [[255]]])
    stored = np.rint(colours * alpha / 255) if extra == 1 else colours
    pixels = (np.dstack([stored, alpha]) * (1 if bits == 8 else 257)).astype(f"{order}u{bits // 8}")
    tags = tiff_tags(1, 2, 4, bits, 2) + ([] if extra is None else [(338, 3, [extra])])
    decoded = decode_image("img", tiff_file(pixels.tobytes(), tags, order), LIMITS).astype(int)
    right = colours * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(decoded - right).max() <= 1


def test_tiffs_of_other_kinds() -> None:
    """Their right values: black is the greatest number, a palette, inks, one bit; grey and alpha is read as grey."""
    for pixels, tags, right in (
        (bytes([0, 200]), tiff_tags(2, 1, 1, 8, 0), [[255] * 3, [55] * 3]),
        (struct.pack("<2H", 0, 200 * 257), tiff_tags(2, 1, 1, 16, 0), [[255] * 3, [55] * 3]),
        (bytes([0, 1]), [*tiff_tags(2, 1, 1, 8, 3), (320, 3, [65535, 0] + [0] * 766)], [[255, 0, 0], [0, 0, 0]]),
        (bytes([0, 255, 255, 0]), tiff_tags(1, 1, 4, 8, 5), [[255, 0, 0]]),
        (bytes([0b10000000]), tiff_tags(2, 1, 1, 1, 1), [[255] * 3, [0] * 3]),
        (bytes([200, 255, 10, 255]), [*tiff_tags(2, 1, 2, 8, 1), (338, 3, [2])], [[200] * 3, [10] * 3]),
    ):
        np.testing.assert_array_equal(decode_image("img", tiff_file(pixels, tags), LIMITS), [right])


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_tiff_of_other_numbers_is_rejected_with_what_is_right(dtype: str, channels: int) -> None:
    image = np.ones((4, 5, channels)).astype(dtype)
    with pytest.raises(InvalidField, match="img: a TIFF that is read has 1 to 4 unsigned numbers of at most 16 bits"):
        decode_image("img", image_file(image, ".tiff"), LIMITS)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".webp", ".bmp"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_opencv_writes_is_read(extension: str, dtype: str, channels: int) -> None:
    if dtype == "uint16" and extension not in (".png", ".tiff"):
        return  # they have 8 bits
    image = np.full((4, 5, channels), 40 if dtype == "uint8" else 40 * 257).astype(dtype)
    if channels == 4:
        image[..., 3] = np.iinfo(dtype).max
    np.testing.assert_array_equal(decode_image("img", image_file(image, extension), LIMITS), np.full((4, 5, 3), 40))


def test_transparency_of_a_large_picture_is_the_same_in_all_its_rows() -> None:
    image = np.full((1100, 700, 4), 100, np.uint8)
    image[..., 3] = 128
    assert (decode_image("img", image_file(image), LIMITS) == 177).all()


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


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_is_decoded_once(monkeypatch: pytest.MonkeyPatch, extension: str, channels: int) -> None:
    image = np.dstack([BGR, BGR[..., 0]])
    file = image_file(image[..., : 3 if extension == ".gif" else channels], extension)
    calls, decode = [], cv2.imread
    monkeypatch.setattr(cv2, "imread", lambda *arguments: (calls.append(arguments), decode(*arguments))[1])
    assert decode_image("img", file, LIMITS).shape == (40, 60, 3)
    assert len(calls) == 1
