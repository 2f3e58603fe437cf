"""Pictures made to take memory and time: small files, large pictures, or much work for a few bytes.

Each function returns a file; `PICTURES` has all of them at the size at which they do most harm. `picture_costs.py`
prints what each costs.
"""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import cv2
import numpy as np
from isal import isal_zlib

PNG = b"\x89PNG\r\n\x1a\n"
MILLION = 1_000_000
# Width and height of pictures of so many million pixels.
SIDES = {50: (10_000, 5_000), 39: (7_800, 5_000), 33: (6_600, 5_000), 29: (5_800, 5_000), 20: (5_000, 4_000)}
SIDES |= {
    18: (4_500, 4_000),
    15: (5_000, 3_000),
    14: (4_000, 3_500),
    10: (4_000, 2_500),
    9: (3_600, 2_500),
    1: (1_000, 1_000),
}


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    side: tuple[int, int], depth: int, colours: int, *, before: bytes = b"", behind: int = 0, laced: int = 0
) -> bytes:
    """A PNG of zeros; `before` are chunks in front of its data, `behind` bytes of data after its pixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    size = side[1] * (1 + -(-side[0] * depth * samples // 8)) + (side[1] * 8 if laced else 0)
    squeeze = zlib.compressobj(9) if behind else isal_zlib.compressobj(1)
    packed = b"".join(squeeze.compress(bytes(min(MILLION, size - at))) for at in range(0, size, MILLION))
    if behind:  # after a full flush, the same block may follow again and again
        packed += squeeze.flush(zlib.Z_FULL_FLUSH)
        packed += (squeeze.compress(bytes(MILLION)) + squeeze.flush(zlib.Z_FULL_FLUSH)) * (behind // MILLION)
    packed += squeeze.flush()
    head = png_chunk(b"IHDR", struct.pack(">2I5B", *side, depth, colours, 0, 0, laced))
    data = png_chunk(b"IDAT", packed)
    return PNG + head + before + data + png_chunk(b"IEND", b"")


def png_with_missing_chunk() -> bytes:
    """Its pixels say that they are 4 GB, and are not there."""
    whole = png((8, 8), 8, 2)
    return whole[: whole.index(b"IDAT") - 4] + (2**32 - 2**16).to_bytes(4) + b"IDAT" + bytes(400)


def png_with_texts(count: int, size: int) -> bytes:
    """A few pixels, and `count` compressed texts of `size` bytes each."""
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * size, 9))
    return png((10, 10), 8, 0, before=text * count)


def png_with_tail(size: int) -> bytes:
    """So many pixels that the file is not too large for them, and `size` bytes of data behind them."""
    return png((4_000, 1 + size // 2_500_000), 8, 0, behind=size)


def png_animation(side: tuple[int, int]) -> bytes:
    """Two frames are announced, one is there."""
    control = png_chunk(b"fcTL", struct.pack(">5I2H2B", 0, *side, 0, 0, 1, 10, 1, 1))
    return png(side, 8, 6, before=png_chunk(b"acTL", struct.pack(">2I", 2, 0)) + control)


def jpeg(side: tuple[int, int], *, progressive: bool = False, scans: int = 0) -> bytes:
    """A grey-blue JPEG with as many more scans as it takes for `scans` of them."""
    image = np.full((side[1], side[0], 3), (120, 90, 60), np.uint8)
    made = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])[1].tobytes()
    last = made[made.rindex(b"\xff\xda") : -2]
    return made[:-2] + last * max(0, scans - made.count(b"\xff\xda")) + made[-2:]


def jpeg_turned(side: tuple[int, int]) -> bytes:
    """To be turned by a quarter, as its EXIF data says."""
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH2HI2HI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    made = jpeg(side)
    return made[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + made[2:]


def jpeg_of_kind(marker: int) -> bytes:
    """A frame of another kind: 0xC9 is arithmetic coding, 0xC3 lossless."""
    made = jpeg((64, 64))
    at = made.index(b"\xff\xc0")
    return made[: at + 1] + bytes([marker]) + made[at + 2 :]


def gif(side: tuple[int, int], codes: bytes, bits: int, disposal: int = 2) -> bytes:
    """One frame of LZW `codes`, whose shortest has one bit more than `bits`."""
    blocks = b"".join(bytes([len(codes[at : at + 255])]) + codes[at : at + 255] for at in range(0, len(codes), 255))
    head = b"GIF89a" + struct.pack("<2H3B", *side, 0x81, 0, 0) + bytes(12)
    frame = b"," + struct.pack("<4HB", 0, 0, *side, 0) + bytes([bits]) + blocks + b"\0"
    return head + b"!\xf9\4" + bytes([disposal << 2, 0, 0, 0, 0]) + frame + b";"


def gif_of_zeros(side: tuple[int, int]) -> bytes:
    """All pixels alike, as LZW has them: each code stands for a pixel more than the one before it."""
    left, bits, end = side[0] * side[1], 3, 5
    values: list[tuple[int, int]] = []
    while left:
        values.append((4, bits))
        for length in range(1, 4091):
            bits = min(12, max(3, (end + length - 1).bit_length()))
            used = min(length, left)
            values.append((0 if used == 1 else used + 4, bits))
            left -= used
            if not left:
                break
    return gif(side, _bits([*values, (end, bits)]), 2)


def gif_of_clears(size: int) -> bytes:
    """`size` bytes of nothing but the code that begins a new table."""
    return gif((10, 10), _bits([(4, 3)] * 8) * (size // 3), 2)


def webp(side: tuple[int, int], channels: int, quality: int) -> bytes:
    """Lossy, or lossless where `quality` is above 100."""
    image = np.full((side[1], side[0], channels), 90, np.uint8)
    return cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def webp_animation(side: tuple[int, int]) -> bytes:
    """Two frames of transparent pixels."""
    animation = cv2.Animation()
    animation.frames = [np.full((side[1], side[0], 4), value, np.uint8) for value in (90, 160)]
    animation.durations = [100, 100]
    return bytes(cv2.imencodeanimation(".webp", animation)[1])


def webp_of_groups() -> bytes:
    """A lossless picture with 65,536 groups of prefix codes (RFC 9649, 6.2), each of twenty bits here, 5 KB decoded."""
    image = [(0x2F, 8), (1023, 14), (1023, 14), (0, 1), (0, 3)]
    image += [(0, 1), (0, 1), (1, 1), (0, 3)]  # no transform, no cache, groups for blocks of 4 x 4
    image += [(0, 1)]  # the groups' numbers: no cache, a code for each of red and green of eight bits, the others none
    eight_bits = [(0, 1), (8, 4)]  # a code of lengths: 12 lengths of it in their order; those of 18 and 8 are one bit
    order = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)
    eight_bits += [({18: 1, 8: 1}.get(which, 0), 3) for which in order] + [(0, 1)]  # of all symbols
    # By value 8 is code 0, 18 code 1.
    green = [*eight_bits, *[(0, 1)] * 256, (1, 1), (24 - 11, 7)]
    red = [*eight_bits, *[(0, 1)] * 256]
    none = [(1, 1), (0, 1), (0, 1), (0, 1)]
    image += [*green, *red, *none, *none, *none]
    turned = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
    image += [(turned[number & 255] | turned[number >> 8] << 8, 16) for number in range(65_536)]
    image += none * 5 * 65_536
    packed = _bits(image)
    chunk = b"VP8L" + struct.pack("<I", len(packed)) + packed + bytes(len(packed) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


Tag = tuple[int, int, Sequence[int]]


def tiff(side: tuple[int, int], samples: int, bits: int, more: Sequence[Tag] = (), pages: int = 1) -> bytes:
    """Deflated zeros in one strip, or tile; each tag as number, type (3: 16 bits, 4: 32), values."""
    tiles = {tag: values[0] for tag, _, values in more if tag in (322, 323)}
    width, height = (tiles[322], tiles[323]) if tiles else side
    packed = zlib.compress(bytes(width * height * samples * bits // 8), 1)
    tags: list[Tag] = [
        (256, 4, [side[0]]),
        (257, 4, [side[1]]),
        (258, 3, [bits] * samples),
        (259, 3, [8]),
        (262, 3, [2 if samples > 2 else 1]),
        (324 if tiles else 273, 4, [0]),
        (277, 3, [samples]),
        (325 if tiles else 279, 4, [len(packed)]),
        *more,
    ]
    directory, far = b"", b""
    behind = 8 + 2 + 12 * len(tags) + 4
    for tag, kind, values in sorted(tags):
        data = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(data) > 4:
            data, far = struct.pack("<I", behind + len(far)), far + data
        directory += struct.pack("<2HI", tag, kind, len(values)) + (
            b"HERE" if tag in (273, 324) else data.ljust(4, b"\0")
        )
    start = behind + len(far)
    directory = directory.replace(b"HERE", struct.pack("<I", start))
    after = start + len(packed)
    empty = b"".join(struct.pack("<HI", 0, after + 6 * (at + 1)) for at in range(pages - 1))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + struct.pack("<I", after if pages > 1 else 0)
    return head + far + packed + (empty[:-4] + bytes(4) if empty else b"")


def tiff_twice() -> bytes:
    """A small size, and behind it a large one; or a large one that is read first."""
    return tiff((150, 100), 1, 8, [(256, 4, [20_000]), (257, 4, [20_000])])


def bmp(side: tuple[int, int]) -> bytes:
    """Runs of 255 zeros (BI_RLE8)."""
    row = bytes([255, 0]) * (side[0] // 255) + bytes([side[0] % 255, 0]) * bool(side[0] % 255) + b"\0\0"
    pixels, palette = row * side[1] + b"\0\1", bytes(4 * 256)
    header = struct.pack("<I2i2H6I", 40, *side, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<I2HI", start + len(pixels), 0, 0, start) + header + palette + pixels


def _bits(values: Sequence[tuple[int, int]]) -> bytes:
    """Numbers of so many bits each, the lowest bit first."""
    widths = np.array([width for _, width in values])
    numbers = np.array([value for value, _ in values], np.int64)
    bits = np.zeros((len(values), int(widths.max())), np.uint8)
    for at in range(bits.shape[1]):
        bits[:, at] = numbers >> at & 1
    used = bits[np.arange(bits.shape[1]) < widths[:, np.newaxis]]
    return np.packbits(used, bitorder="little").tobytes()


PICTURES: Mapping[str, Callable[[], bytes]] = {
    "TIFF, its size twice": tiff_twice,
    "TIFF, one strip, 8 bits": partial(tiff, SIDES[20], 3, 8),
    "TIFF, one strip, 16 bits": partial(tiff, SIDES[15], 3, 16),
    "TIFF, one strip, 16 bits, alpha": partial(tiff, SIDES[9], 4, 16, [(338, 3, [2])]),
    "TIFF, one strip, turned": partial(tiff, SIDES[15], 3, 8, [(274, 3, [6])]),
    "TIFF, one strip, too large": partial(tiff, SIDES[50], 3, 8),
    "TIFF, a large tile": partial(tiff, (16, 16), 3, 8, [(322, 4, [5_600]), (323, 4, [5_600])]),
    "TIFF of floats": partial(tiff, SIDES[10], 1, 32, [(339, 3, [3])]),
    "TIFF, a million pages": partial(tiff, (16, 16), 1, 8, pages=MILLION),
    "PNG, RGBA": partial(png, SIDES[50], 8, 6),
    "PNG, RGBA, interlaced": partial(png, SIDES[50], 8, 6, laced=1),
    "PNG, RGBA of 16 bits": partial(png, SIDES[29], 16, 6),
    "PNG, RGB of 16 bits": partial(png, SIDES[50], 16, 2),
    "PNG, grey and alpha": partial(png, SIDES[50], 8, 4),
    "PNG, palette": partial(
        png, SIDES[50], 8, 3, before=png_chunk(b"PLTE", bytes(768)) + png_chunk(b"tRNS", bytes(256))
    ),
    "PNG, one grey transparent": partial(png, SIDES[50], 8, 0, before=png_chunk(b"tRNS", bytes(2))),
    "PNG, an animation": partial(png_animation, SIDES[10]),
    "PNG, a chunk of 4 GB that is missing": png_with_missing_chunk,
    "PNG, 900 texts of 7.9 MB": partial(png_with_texts, 900, 7_900_000),
    "PNG, 12 GB behind its pixels": partial(png_with_tail, 12_000 * MILLION),
    "PNG, 2.4 GB behind its pixels": partial(png_with_tail, 2_400 * MILLION),
    "JPEG, turned": partial(jpeg_turned, SIDES[50]),
    "JPEG, progressive": partial(jpeg, SIDES[39], progressive=True),
    "JPEG, 15 scans": partial(jpeg, SIDES[39], progressive=True, scans=15),
    "JPEG, 60 scans": partial(jpeg, SIDES[10], progressive=True, scans=60),
    "JPEG, 3,000 scans": partial(jpeg, SIDES[10], progressive=True, scans=3_000),
    "JPEG, arithmetic coding": partial(jpeg_of_kind, 0xC9),
    "GIF, all alike": partial(gif_of_zeros, SIDES[18]),
    "GIF, 1 MB of clear codes": partial(gif_of_clears, MILLION),
    "WebP, lossless": partial(webp, SIDES[33], 3, 101),
    "WebP, lossless, alpha": partial(webp, SIDES[29], 4, 101),
    "WebP, lossy": partial(webp, SIDES[50], 3, 50),
    "WebP, an animation": partial(webp_animation, SIDES[14]),
    "WebP, 65,536 groups of codes": webp_of_groups,
    "BMP of runs": partial(bmp, SIDES[39]),
}
