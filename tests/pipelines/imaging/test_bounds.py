"""What decoding takes is known from the header, and is bounded: pictures made to take memory and time."""

import itertools
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from attack import pictures
from support.images import (
    exif,
    image_file,
    photograph,
    png_chunk,
    png_file,
    tiff_file,
    tiff_tags,
    webp_chunk,
    webp_with_orientation,
    with_orientation,
)
from support.processes import REPOSITORY
from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.imaging.headers import vp8l
from wsgiapp.pipelines.imaging.headers.header import CutOff, Unsupported
from wsgiapp.pipelines.imaging.headers.readers import read_header
from wsgiapp.pipelines.imaging.images import decode_image, decode_nearest
from wsgiapp.pipelines.memory_budget import MemoryBudget
from wsgiapp.pipelines.pipeline import ImageLimits, Payload, Resources
from wsgiapp.pipelines.saliency import Saliency

LIMITS = ImageLimits()
SIDE = (2000, 1000)
PIXELS = SIDE[0] * SIDE[1]
NOISE = np.random.default_rng(3).integers(0, 256, (SIDE[1], SIDE[0], 4), np.uint8)
MEGABYTE = 1_000_000


def rejected(file: bytes, message: str) -> None:
    with pytest.raises((InvalidField, TooLarge), match=message):
        decode_image("img", file, LIMITS)


# --- memory ---


def tiff(image: np.ndarray, bits: int, photometric: int, orientation: int = 1) -> bytes:
    height, width, samples = image.shape
    tags = [*tiff_tags(width, height, samples, bits, photometric), (274, 3, [orientation])]
    return tiff_file(image.astype("<u2" if bits == 16 else "u1").tobytes(), tags)


KINDS = {
    "JPEG": lambda: image_file(NOISE[..., :3], ".jpg"),
    "JPEG, turned": lambda: with_orientation(image_file(NOISE[..., :3], ".jpg"), 6),
    "JPEG, progressive": lambda: pictures.jpeg(SIDE, progressive=True),
    "PNG, RGB": lambda: pictures.png(SIDE, 8, 2),
    "PNG, RGBA": lambda: pictures.png(SIDE, 8, 6),
    "PNG, RGBA, interlaced": lambda: pictures.png(SIDE, 8, 6, laced=1),
    "PNG, RGBA of 16 bits": lambda: pictures.png(SIDE, 16, 6),
    "PNG, RGB of 16 bits": lambda: pictures.png(SIDE, 16, 2),
    "PNG, grey and alpha": lambda: pictures.png(SIDE, 8, 4),
    "PNG, an animation": lambda: pictures.png_animation(SIDE),
    "GIF": lambda: pictures.gif_of_zeros(SIDE),
    "WebP, lossless": lambda: pictures.webp(SIDE, 3, 101),
    "WebP, lossless, alpha": lambda: pictures.webp(SIDE, 4, 101),
    "WebP, lossy": lambda: pictures.webp(SIDE, 3, 50),
    "WebP, lossy, alpha": lambda: pictures.webp(SIDE, 4, 50),
    "WebP, an animation": lambda: pictures.webp_animation(SIDE),
    "BMP": lambda: pictures.bmp(SIDE),
    "TIFF, RGB": lambda: tiff(NOISE[..., :3], 8, 2),
    "TIFF, turned": lambda: tiff(NOISE[..., :3], 8, 2, 6),
    "TIFF, RGBA of 16 bits": lambda: tiff(NOISE, 16, 2),
    "TIFF, inks": lambda: tiff(NOISE, 8, 5),
}


def status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by proc(5)")
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_takes_no_more_memory_than_the_header_says(kind: str) -> None:
    """The peak of the whole process, of which the kernel keeps account; also of what a decoder has besides."""
    file = KINDS[kind]()
    header = read_header(file)
    assert header
    decode_nearest("img", file, LIMITS, 320)  # libraries set themselves up
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak begins anew
    before = status_bytes("VmRSS")
    decode_nearest("img", file, LIMITS, 320)
    assert status_bytes("VmHWM") - before <= 1.15 * header.peak_bytes + 4 * MEGABYTE
    assert header.peak_bytes <= 24 * PIXELS


def test_a_picture_that_never_fits_is_rejected_with_both_figures() -> None:
    limits = ImageLimits(memory=MemoryBudget(7 * MEGABYTE))
    with pytest.raises(TooLarge, match=r"img: 2000 x 1000 pixels, which take 8,000,000 bytes .* limit is 7,000,000"):
        decode_image("img", pictures.png(SIDE, 8, 6), limits)
    assert decode_image("img", pictures.png(SIDE, 8, 2), limits).shape == (1000, 2000, 3)


def test_the_budget_is_asked_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Exception):
        pass

    def ask(size: int) -> None:
        asked.append(size)
        raise Full

    asked: list[int] = []
    made = Saliency({}, Resources())
    monkeypatch.setattr(cv2, "imread", None)
    with made._limits.memory.asking(ask), pytest.raises(Full):
        made.preprocess(Payload(files={"img": pictures.png(SIDE, 8, 6)}))
    assert len(asked) == 1 and asked[0] >= 4 * PIXELS


def test_an_answer_s_memory_is_asked_for_too() -> None:
    made, asked = Saliency({}, Resources()), []
    context = made.preprocess(Payload({"encoding": "npy"}, {"img": image_file(photograph())})).context
    with made._limits.memory.asking(asked.append):
        made.postprocess({"img_out": np.zeros((1, 320, 320, 1), np.float32)}, context)
    assert asked == [4 * 64 * 48]


# --- pixels that are taken are those of the whole picture ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_nearest_pixels_are_those_of_the_whole_picture(orientation: int) -> None:
    bgra = np.dstack([photograph(90, 70), photograph(90, 70, 1)[..., 0]])
    files = [
        with_orientation(image_file(bgra[..., :3], ".jpg"), orientation),
        webp_with_orientation(image_file(bgra, ".webp"), 90, 70, orientation),
        png_file(90, 70, 16, 6, (bgra.astype(">u2") * 257).tobytes(), eXIf=exif(orientation)),
        png_file(90, 70, 8, 0, bgra[..., 0].tobytes(), tRNS=bytes([0, bgra[0, 0, 0]]), eXIf=exif(orientation)),
        *(tiff(bgra, bits, 2, orientation) for bits in (8, 16)),
        *([image_file(bgra, each) for each in (".gif", ".bmp")] if orientation == 1 else []),
    ]
    for (at, file), size in itertools.product(enumerate(files), (1, 7, 64, 320)):
        whole = decode_image("img", file, LIMITS)
        small, height, width = decode_nearest("img", file, LIMITS, size)
        assert (height, width) == whole.shape[:2]
        right = cv2.resize(whole, (size, size), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(small, right, err_msg=f"{at}, {size}")


# --- work ---


def test_a_jpeg_s_scans_are_limited_by_its_pixels() -> None:
    """40 million pixels once more take a tenth of a second; the header alone says so."""
    progressive = pictures.jpeg((64, 64), progressive=True, scans=20)
    at = progressive.index(b"\xff\xc2")
    large = progressive[: at + 5] + struct.pack(">2H", 5000, 8000) + progressive[at + 9 :]
    rejected(large, "img: a JPEG of more than 15 scans")
    assert decode_image("img", progressive, LIMITS).shape == (64, 64, 3)
    rejected(pictures.jpeg((64, 64), progressive=True, scans=3000), "img: a JPEG of more than 100 scans")


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC9, 0xCA, 0xCB])
def test_a_jpeg_that_browsers_do_not_show_is_rejected(marker: int) -> None:
    rejected(pictures.jpeg_of_kind(marker), "img: a JPEG of a kind that browsers do not show")


def test_a_gif_of_clear_codes_is_rejected() -> None:
    """OpenCV takes 6 us for each of them, and each has 3 bits."""
    rejected(pictures.gif_of_clears(100_000), "img: a GIF that begins its table of codes again and again")
    ends = pictures._bits([(5, 3)] * 800) * 100
    rejected(pictures.gif((10, 10), ends, 2), "img: a GIF that begins its table of codes again and again")


@pytest.mark.parametrize("noise", [0, 1, 7, 255])
def test_gifs_of_all_kinds_of_pictures_are_read(noise: int) -> None:
    """Their tables are begun again a hundred times, where there is much noise."""
    image = (NOISE[..., :3] & noise).astype(np.uint8)
    assert decode_image("img", image_file(image, ".gif"), LIMITS).shape == image.shape


def test_a_gif_that_is_not_compressed_is_read() -> None:
    """A clear code after 254 pixels of 8 bits, as encoders wrote them while LZW was patented."""
    width, height = 254, 300
    row = [(256, 9), *((at % 4, 9) for at in range(width))]
    file = bytearray(pictures.gif((width, height), pictures._bits([*row * height, (257, 9)]), 8))
    decoded = decode_image("img", bytes(file), LIMITS)
    assert decoded.shape == (height, width, 3)


def test_texts_and_profiles_of_a_png_are_left_out() -> None:
    """Inflated they would take 395 MB; those behind the pixels as well."""
    plain = png_file(3, 2, 8, 0, bytes([0, 50, 100, 150, 200, 250]))
    right = decode_image("img", plain, LIMITS)
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_900_000), 9))
    for kind in (b"zTXt", b"iTXt", b"tEXt", b"iCCP"):
        other = png_chunk(kind, text[8:-4])
        before, behind = plain[:33] + other * 50 + plain[33:], plain[:-12] + other * 50 + plain[-12:]
        for file in (before, behind):
            Path("/proc/self/clear_refs").write_text("5")
            size = status_bytes("VmRSS")
            np.testing.assert_array_equal(decode_image("img", file, LIMITS), right)
            assert status_bytes("VmHWM") - size < 20 * MEGABYTE


def test_data_behind_the_last_pixel_of_a_png_is_rejected() -> None:
    """libpng inflates it to its end: 12 GB, from 12 MB."""
    rejected(pictures.png((10, 10), 8, 0, behind=300 * MEGABYTE), "img: a PNG whose data goes on")
    rejected(pictures.png_with_tail(2700 * MEGABYTE), "img: a PNG whose data goes on")
    header = read_header(pictures.png_with_tail(2400 * MEGABYTE))
    assert header and header.more_bytes > MemoryBudget().max_bytes // 6, "it counts as a large one"


def test_the_size_is_checked_before_the_work() -> None:
    """Of two faults the size is found: to go through either file would take long, and longer for more pixels."""
    clears = bytearray(pictures.gif_of_clears(3_000_000))
    clears[6:10] = struct.pack("<2H", 60_000, 60_000)
    data = bytearray(pictures.png_with_tail(4200 * MEGABYTE))
    data[16:24] = struct.pack(">2I", 1_000_000, 1_000_000)
    for file in (clears, data):
        rejected(bytes(file), "img: .* pixels; the limit is")


def test_png_photographs_of_some_megabytes_are_read() -> None:
    """As is noise, which cannot be compressed."""
    for level in (0, 1):
        file = cv2.imencode(".png", NOISE[..., :3], [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()
        assert len(file) > 5 * MEGABYTE
        np.testing.assert_array_equal(decode_image("img", file, LIMITS), NOISE[..., 2::-1])


def test_an_animation_of_a_png_needs_room_for_its_frames() -> None:
    header, still = (read_header(made) for made in (pictures.png_animation(SIDE), pictures.png(SIDE, 8, 6)))
    assert header and still and header.peak_bytes > 3 * still.peak_bytes


def test_a_webp_of_many_groups_of_codes_is_rejected() -> None:
    """65,536 of them take 360 MB, whatever the size of the picture; also in its alpha, and in an animation's frame."""
    message = "img: a lossless WebP of more than 4096 groups of codes"
    file = pictures.webp_of_groups()
    rejected(file, message)
    canvas = struct.pack("<I", 1023)[:3] * 2
    alpha = webp_chunk(b"ALPH", b"\x01" + file[25:]) + image_file(NOISE[..., :3], ".webp")[12:]
    frame = webp_chunk(b"ANMF", bytes(6) + canvas + bytes(4) + file[12:])
    for flags, chunks in ((0x10, alpha), (0x12, webp_chunk(b"ANIM", bytes(6)) + frame)):
        body = b"WEBP" + webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + canvas) + chunks
        rejected(b"RIFF" + struct.pack("<I", len(body)) + body, message)


@pytest.mark.parametrize("bits", [0xFF, 0xC0, 0x80, 0x0F])
@pytest.mark.parametrize("channels", [3, 4])
def test_the_groups_of_codes_are_where_they_are_looked_for(bits: int, channels: int) -> None:
    """So many codes follow, complete ones, as libwebp's encoder made them; they would not, a bit before or behind."""
    noise = cv2.GaussianBlur(NOISE[:400, :500, :channels], (0, 0), 2) & np.uint8(bits)
    noise[:200] = NOISE[:200, :500, :channels] & np.uint8(bits)
    file = cv2.imencode(".webp", noise, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    header = read_header(file)
    assert header
    stream = vp8l._Stream(memoryview(file)[25:])
    groups = stream.groups(500, 400)
    assert header.more_bytes == groups * 20_000
    symbols = 256 + 24 + stream.cache_size
    for _ in range(groups):
        for count in (symbols, 256, 256, 256, 40):
            stream._code(count)


def test_a_webp_s_transforms_are_no_larger_than_encoders_make_them() -> None:
    stream = pictures._bits([(1, 1), (0, 2), (0, 3), (0, 1), *[(1, 1), (0, 1), (0, 1), (0, 1)] * 5, *[(0, 8)] * 9])
    with pytest.raises(Unsupported, match="larger transforms"):
        vp8l.count_groups(memoryview(stream), 16_000, 16_000)
    with pytest.raises(ValueError, match="cut off"):
        vp8l.count_groups(memoryview(stream[:2]), 16, 16)


def test_a_png_s_chunk_that_is_missing_is_not_allocated() -> None:
    """OpenCV allocates what a chunk's length says, up to 4 GB, before it looks for its data."""
    file = pictures.png_with_missing_chunk()
    with pytest.raises(CutOff):
        read_header(file)
    rejected(file, "img: an image file that is damaged or cut off")


@pytest.mark.parametrize("compression", [6, 34676, 34677, 34925, 50000])
def test_a_tiff_compressed_in_other_ways_is_rejected(compression: int) -> None:
    tags = [each for each in tiff_tags(30, 20, 1, 8, 1) if each[0] != 259]
    rejected(tiff_file(bytes(600), [*tags, (259, 3, [compression])]), "img: a TIFF that is read is compressed by LZW")


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 32946])
def test_a_tiff_compressed_in_usual_ways_is_read(compression: int) -> None:
    image = photograph()
    file = cv2.imencode(".tiff", image, [cv2.IMWRITE_TIFF_COMPRESSION, compression])[1].tobytes()
    np.testing.assert_array_equal(decode_image("img", file, LIMITS), image[..., ::-1])


def test_a_tiff_of_baseline_jpegs_is_read_and_one_of_progressive_ones_is_not() -> None:
    """Each strip may be the same hundreds of scans."""
    tags = [each for each in tiff_tags(64, 64, 3, 8, 6) if each[0] != 259] + [(259, 3, [7]), (530, 3, [2, 2])]
    baseline, progressive = (pictures.jpeg((64, 64), progressive=kind) for kind in (False, True))
    right = decode_image("img", baseline, LIMITS).astype(int)
    assert np.abs(decode_image("img", tiff_file(baseline, tags), LIMITS) - right).max() < 4
    rejected(tiff_file(progressive, tags), "img: a TIFF of progressive JPEGs")


def test_a_tiff_of_a_million_pages_is_rejected_soon() -> None:
    """OpenCV counts them before it reads the first."""
    rejected(pictures.tiff((16, 16), 1, 8, pages=MEGABYTE), "img: an image file with a broken header")
    assert decode_image("img", pictures.tiff((16, 16), 1, 8, pages=4000), LIMITS).shape == (16, 16, 3)


def test_the_size_of_a_tiff_that_says_it_twice_is_not_believed() -> None:
    rejected(pictures.tiff_twice(), "img: an image file with a broken header")


@pytest.mark.parametrize(
    "data", [b"#?RADIANCE\n", b"P6 9 9 255\n", b"\x59\xa6\x6a\x95", b"\0\0\0\x0cjP  ", b"\0\0\0\x1cftypavif", b"v/1\1"]
)
def test_formats_that_nobody_sends_are_rejected_with_those_that_are_read(data: bytes) -> None:
    rejected(data + bytes(100), r"img: not an image \(JPEG, PNG, WebP, GIF, BMP or TIFF\)")


def test_the_table_of_costs_is_printed() -> None:
    """`scripts/attack/picture_costs.py`, of two of its pictures."""
    import subprocess

    names = ["TIFF, its size twice", "PNG, one grey transparent"]
    command = [sys.executable, "-m", "attack.picture_costs", *names]
    done = subprocess.run(command, cwd=REPOSITORY / "scripts", capture_output=True, text=True, check=True)
    _, _, rejected_row, row = done.stdout.splitlines()
    assert rejected_row.endswith("| InvalidField: img: an image file with a broken header |")
    assert row.startswith("| PNG, one grey transparent |") and row.endswith("| 10000 x 5000 |")
    assert int(row.split("|")[3]) < 80


def test_a_gif_that_ends_before_its_codes_is_rejected() -> None:
    file = pictures.gif_of_zeros((4, 4))
    start = file.index(b",") + 9
    rejected(file[:start] + b"\x81" + bytes(20), "img: an image file with a broken header")
