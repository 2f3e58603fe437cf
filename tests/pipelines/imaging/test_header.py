"""No header makes the decoder allocate more than the limit, and what is rejected for its size has that size."""

import os
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from support.images import (
    exif,
    image_file,
    photograph,
    png_chunk,
    png_file,
    tiff_file,
    tiff_tags,
    webp_with_orientation,
    with_segment,
)
from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.imaging.headers.readers import read_header
from wsgiapp.pipelines.imaging.images import decode_image
from wsgiapp.pipelines.pipeline import ImageLimits

LIMITS = ImageLimits(pixels=10_000)
SMALL, LARGE = photograph(30, 20), photograph(150, 100)
BROKEN = "img: an image file with a broken header"
RANDOM = np.random.default_rng(11)


def bmp(size: int, header: bytes, pixels: bytes) -> bytes:
    start = 14 + size
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + struct.pack("<I", size) + header + pixels


# --- the size ---


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 3), (300, 2), (33, 64)])
def test_the_size_is_the_decoder_s(extension: str, width: int, height: int) -> None:
    for channels in (3, 4) if extension != ".jpg" else (3,):
        image = RANDOM.integers(0, 256, (height, width, channels), np.uint8)
        header = read_header(image_file(image, extension))
        assert header is not None and (header.width, header.height) == (width, height)


def test_a_tiff_whose_size_stands_twice_is_rejected() -> None:
    """The decoder reads the first of two, others the last."""
    tags = tiff_tags(150, 100, 1, 8, 1)
    decoded = decode_image("img", tiff_file(bytes(15_000), tags), ImageLimits())
    assert decoded.shape == (100, 150, 3)
    for twice in ([(256, 4, [3])], [(257, 4, [1])], [(256, 3, [3]), (257, 3, [1])]):
        with pytest.raises(InvalidField, match=BROKEN):
            decode_image("img", tiff_file(bytes(15_000), tags + twice), LIMITS)


@pytest.mark.parametrize("tag", [(256, 3, [30, 1]), (257, 3, []), (256, 4, [0])])
def test_a_tiff_whose_size_is_no_number_is_rejected(tag: tuple[int, int, list[int]]) -> None:
    tags = [each for each in tiff_tags(30, 20, 1, 8, 1) if each[0] != tag[0]]
    with pytest.raises(InvalidField, match=BROKEN):
        decode_image("img", tiff_file(bytes(600), [*tags, tag]), LIMITS)
    with pytest.raises(InvalidField, match=BROKEN):
        decode_image("img", tiff_file(bytes(600), tags), LIMITS)


def test_a_tiff_s_tiles_count_where_they_are_larger_than_the_picture() -> None:
    tags = [*tiff_tags(16, 16, 1, 8, 1), (322, 4, [1024]), (323, 4, [1024])]
    with pytest.raises(TooLarge, match="img: 1024 x 1024 pixels; the limit is 10,000 pixels"):
        decode_image("img", tiff_file(bytes(2**20), tags), LIMITS)
    assert decode_image("img", tiff_file(bytes(2**20), tags), ImageLimits()).shape == (16, 16, 3)


def test_the_first_page_of_a_tiff_is_read() -> None:
    """The second one may be of any size: nobody decodes it."""
    pages = bytes(cv2.imencodemulti(".tiff", [SMALL, LARGE])[1])
    np.testing.assert_array_equal(decode_image("img", pages, LIMITS), SMALL[..., ::-1])
    with pytest.raises(TooLarge, match="img: 150 x 100 pixels"):
        decode_image("img", bytes(cv2.imencodemulti(".tiff", [LARGE, SMALL])[1]), LIMITS)


def frame(width: int, height: int) -> bytes:
    """A start of frame, as a JPEG's segment holds it."""
    return struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])


def test_a_frame_that_libjpeg_skips_is_skipped() -> None:
    """FF 00 is no marker. Read as one, its length hides the real frame, and a small one behind that is found."""
    large, decoy = image_file(LARGE, ".jpg"), b"\xff\xc0" + struct.pack(">H", 17) + frame(3, 1)
    at = large.index(b"\xff\xc0")
    hidden = large[:at] + b"\xff\x00" + large[at:]
    length = int.from_bytes(hidden[at + 2 : at + 4])  # what follows FF 00, read as the length of a segment
    reader_goes_on = at + 2 + length
    assert decode_image("img", hidden, ImageLimits()).shape == (100, 150, 3)
    for file in (hidden, hidden[:reader_goes_on] + decoy + hidden[reader_goes_on:]):
        with pytest.raises(TooLarge, match="img: 150 x 100 pixels"):
            decode_image("img", file, LIMITS)


@pytest.mark.parametrize("size", [(3, 1), (150, 100)])
@pytest.mark.parametrize("marker", [0xC0, 0xC2])
def test_a_jpeg_with_two_frames_is_rejected(size: tuple[int, int], marker: int) -> None:
    with pytest.raises(InvalidField, match=BROKEN):
        decode_image("img", with_segment(image_file(LARGE, ".jpg"), marker, frame(*size)), LIMITS)


def test_a_jpeg_s_scans_are_limited() -> None:
    """Each decodes all pixels once more, and takes a few bytes."""
    baseline, progressive = (
        bytes(cv2.imencode(".jpg", SMALL, [cv2.IMWRITE_JPEG_PROGRESSIVE, each])[1]) for each in (0, 1)
    )
    assert progressive.count(b"\xff\xda") == 10
    np.testing.assert_array_equal(decode_image("img", progressive, LIMITS), decode_image("img", baseline, LIMITS))
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    assert decode_image("img", progressive[:-2] + last * 90 + b"\xff\xd9", LIMITS).shape == (20, 30, 3)
    with pytest.raises(InvalidField, match="img: a JPEG of more than 100 scans"):
        decode_image("img", progressive[:-2] + last * 91 + b"\xff\xd9", LIMITS)
    # What follows the only scan of a baseline file is not read.
    behind = baseline[:-2] + baseline[baseline.index(b"\xff\xda") : -2] * 101 + b"\xff\xd9"
    np.testing.assert_array_equal(decode_image("img", behind, LIMITS), decode_image("img", baseline, LIMITS))


def test_scans_of_single_components_are_limited_too() -> None:
    """A sequential JPEG may have a scan for each component, and say them again."""
    baseline = image_file(SMALL[..., 0], ".jpg")
    at = baseline.index(b"\xff\xc0")
    length = int.from_bytes(baseline[at + 2 : at + 4])
    two = frame(30, 20)[:5] + bytes([2, 1, 0x11, 0, 2, 0x11, 0])
    scan = baseline[baseline.index(b"\xff\xda") : -2]
    head = baseline[:at] + b"\xff\xc0" + struct.pack(">H", 2 + len(two)) + two + baseline[at + 2 + length :]
    read_header(head)
    with pytest.raises(ValueError, match="more than 100 scans"):
        read_header(head[:-2] + scan * 100 + b"\xff\xd9")


def test_a_jpeg_s_preview_is_not_the_picture() -> None:
    preview = image_file(SMALL, ".jpg")
    with pytest.raises(TooLarge, match="img: 150 x 100 pixels"):
        decode_image("img", with_segment(image_file(LARGE, ".jpg"), 0xE1, b"Exif\0\0" + exif(1) + preview), LIMITS)


def test_fill_bytes_in_front_of_a_marker_are_no_markers() -> None:
    small = image_file(SMALL, ".jpg")
    at = small.index(b"\xff\xc0")
    filled = small[:at] + b"\xff" * 7 + small[at:]
    np.testing.assert_array_equal(decode_image("img", filled, LIMITS), decode_image("img", small, LIMITS))


def test_a_png_with_two_headers_is_rejected() -> None:
    small = png_file(30, 20, 8, 0, bytes(600), IHDR=struct.pack(">2I5B", 150, 100, 8, 0, 0, 0, 0))
    with pytest.raises(InvalidField, match="img: an image file that is damaged"):
        decode_image("img", small, LIMITS)
    with pytest.raises(InvalidField, match=BROKEN):
        decode_image("img", small[:8] + png_chunk(b"gAMA", bytes(4)) + small[8:], LIMITS)


def test_a_webp_s_canvas_is_its_size() -> None:
    """A frame of another size than the canvas, larger or smaller, is damaged."""
    frames = {each.shape: image_file(np.dstack([each, each[..., 0]]), ".webp") for each in (SMALL, LARGE)}
    large = frames[LARGE.shape]
    with pytest.raises(TooLarge, match="img: 150 x 100 pixels"):
        decode_image("img", webp_with_orientation(large, 150, 100, 1), LIMITS)
    with pytest.raises(InvalidField, match="img: an image file that is damaged"):
        decode_image("img", webp_with_orientation(large, 30, 20, 1), LIMITS)
    with pytest.raises(TooLarge, match="img: 16777216 x 16777216 pixels"):
        decode_image("img", webp_with_orientation(large, 1 << 24, 1 << 24, 1), ImageLimits())


def test_a_webp_s_scale_is_no_part_of_its_size() -> None:
    file = bytearray(cv2.imencode(".webp", SMALL, [cv2.IMWRITE_WEBP_QUALITY, 80])[1])
    plain = decode_image("img", bytes(file), LIMITS)
    file[27] |= 0x40
    np.testing.assert_array_equal(decode_image("img", bytes(file), LIMITS), plain)


def test_webp_is_not_any_riff_file() -> None:
    with pytest.raises(InvalidField, match="img: not an image"):
        decode_image("img", b"RIFF\x24\0\0\0WAVEfmt " + bytes(60), LIMITS)


def test_a_gif_s_size_is_unsigned_and_its_canvas() -> None:
    file = bytearray(image_file(SMALL, ".gif"))
    file[6:10] = struct.pack("<2H", 40_000, 40_000)
    with pytest.raises(TooLarge, match="img: 40000 x 40000 pixels"):
        decode_image("img", bytes(file), ImageLimits())


def test_a_bmp_may_begin_with_its_top_row() -> None:
    rows = SMALL[..., :3].copy()
    pixels = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows)
    rest = struct.pack("<HHIIiiII", 1, 24, 0, len(pixels), 0, 0, 0, 0)
    top_down = bmp(40, struct.pack("<2i", 30, -20) + rest, pixels)
    np.testing.assert_array_equal(decode_image("img", top_down, LIMITS), SMALL[..., ::-1])
    for size in ((30_000, -20_000), (-30, 20), (30, -(2**31))):
        with pytest.raises((TooLarge, InvalidField)):
            decode_image("img", bmp(40, struct.pack("<2i", *size) + rest, pixels), LIMITS)


def test_a_bmp_of_os2_has_a_size_of_16_bits() -> None:
    pixels = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in SMALL[::-1])
    file = bmp(12, struct.pack("<4H", 30, 20, 1, 24), pixels)
    np.testing.assert_array_equal(decode_image("img", file, LIMITS), SMALL[..., ::-1])


def test_headers_of_a_million_parts_are_rejected_soon() -> None:
    jpeg, png = image_file(SMALL, ".jpg"), image_file(SMALL)
    many = b"\xff\xfe\0\2" * 100_000
    with pytest.raises(InvalidField, match=BROKEN):
        decode_image("img", jpeg[:2] + many + jpeg[2:], LIMITS)
    with pytest.raises(InvalidField, match=BROKEN):
        decode_image("img", png[:33] + png_chunk(b"tEXt", b"a\0b") * 100_000 + png[33:], LIMITS)


def test_damaged_headers_never_decode_to_more_than_they_say() -> None:
    """Random bytes in the headers of all formats: what is decoded has the size that was checked."""
    files = [image_file(SMALL, extension) for extension in (".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff")]
    files += [tiff_file(bytes(600), tiff_tags(30, 20, 1, 8, 1), order) for order in "<>"]
    decoded = 0
    for file in files:
        header_bytes = len(file) - 200 if file.startswith(b"II*") else 200
        for _ in range(40):
            broken = bytearray(file)
            for at in RANDOM.integers(2, max(3, min(header_bytes, len(file))), 3):
                broken[at] = RANDOM.choice([0, 1, 255, RANDOM.integers(256)])
            try:
                header = read_header(bytes(broken))
                if header is None or header.width * header.height > 100_000:
                    continue
                image = cv2.imdecode(np.frombuffer(bytes(broken), np.uint8), cv2.IMREAD_UNCHANGED)
            except (ValueError, cv2.error):
                continue
            if image is not None:
                decoded += 1
                assert image.shape[0] * image.shape[1] == header.width * header.height, bytes(broken[:64])
    assert decoded > 100


# --- the decoder's own limit ---


def test_opencv_has_the_limit_too() -> None:
    """Where the application is made before OpenCV is imported, as in a worker, it never allocates more."""
    code = (
        "import io, sys; from wsgiapp.app import create_app; from wsgiapp.settings.loading import load_settings\n"
        "create_app(load_settings({'WSGIAPP_LIMITS_IMAGE_PIXELS': '10000'}), io.BytesIO())\n"
        "import cv2, numpy as np\n"
        "data = np.frombuffer(sys.stdin.buffer.read(), np.uint8)\n"
        "try: print(cv2.imdecode(data, cv2.IMREAD_COLOR) is None)\n"
        "except cv2.error as exc: print('CV_IO_MAX_IMAGE_PIXELS' in str(exc))\n"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    done = subprocess.run([sys.executable, "-c", code], input=image_file(LARGE), capture_output=True, env=env)
    assert done.stdout.decode().split() == ["True"], done.stderr.decode()
