"""Image files <-> arrays, with OpenCV."""

import io
import os
import pickle  # written where a client asks for it, never read  # nosec B403
import struct
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.imaging.headers.header import CutOff, Header, Unsupported
from wsgiapp.pipelines.imaging.headers.readers import read_header
from wsgiapp.pipelines.imaging.orientation import UPRIGHT, take_nearest, turn
from wsgiapp.pipelines.imaging.png import encode_png
from wsgiapp.pipelines.pipeline import ImageLimits

# A client's broken file is the client's problem and is answered; OpenCV would also write it to our log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# A picture's steps are too short to be split: OpenCV's threads, one a core in each worker, mostly wait for one another,
# and turn while they do.
cv2.setNumThreads(1)

# As stored: with alpha and all bits, and not turned.
WITH_ALPHA = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
OPAQUE = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# Pixels that are laid over white at once: three numbers of four bytes for each of their channels.
BLOCK_PIXELS = 1 << 18
DAMAGED = "an image file that is damaged or cut off"


def decode_image(field: str, data: bytes, limits: ImageLimits) -> np.ndarray:
    """The picture as uint8 (height, width, 3) in RGB order.

    It is turned as its EXIF orientation says; transparency is laid over white, as a browser shows it. JPEG, PNG, WebP,
    GIF (first frame), BMP and TIFF (first page) are read. Raises `InvalidField` for what is no whole image of these,
    `TooLarge` for more pixels than `limits`, or more memory, which is decided from the header alone.
    """
    header = _header(field, data, limits)
    return np.ascontiguousarray(turn(_rgb(_decode(field, data, header), header), header.orientation))


def decode_nearest(field: str, data: bytes, limits: ImageLimits, size: int) -> tuple[np.ndarray, int, int]:
    """The picture resized to `size` x `size` by taking the nearest pixels, and its real height and width.

    As `decode_image`, but only the pixels that are taken are turned and laid over white: of 50 million pixels with
    transparency that spares 0.8 of 1 GB and most of the time.
    """
    header = _header(field, data, limits)
    stored = _decode(field, data, header)
    height, width = turn(stored, header.orientation).shape[:2]
    if header.orientation == UPRIGHT:
        nearest = cv2.resize(stored, (size, size), interpolation=cv2.INTER_NEAREST)
    else:
        nearest = take_nearest(stored, header.orientation, size)
    return _rgb(nearest, header), height, width


def _header(field: str, data: bytes, limits: ImageLimits) -> Header:
    """The header of a picture within the limits, whose memory is reserved."""
    if not data:
        raise InvalidField(field, "empty")
    try:
        header = read_header(data)
        if header is None:
            raise Unsupported("not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
        _limit_size(field, header, limits)
        header.check()
    except Unsupported as exc:
        raise InvalidField(field, str(exc)) from exc
    except CutOff as exc:
        raise InvalidField(field, DAMAGED) from exc
    except (ValueError, IndexError, struct.error) as exc:
        raise InvalidField(field, "an image file with a broken header") from exc
    limits.memory.reserve(min(limits.memory.max_bytes, header.peak_bytes + header.more_bytes))
    return header


def _limit_size(field: str, header: Header, limits: ImageLimits) -> None:
    for width, height in ((header.width, header.height), header.tile):
        if width * height > limits.pixels:
            raise TooLarge(field, f"{width} x {height} pixels; the limit is {limits.pixels:,} pixels")
    if header.peak_bytes > limits.memory.max_bytes:
        raise TooLarge(
            field,
            f"{header.width} x {header.height} pixels, which take {header.peak_bytes:,} bytes to decode from a file of "
            f"this kind; the limit is {limits.memory.max_bytes:,} bytes",
        )


def _decode(field: str, data: bytes, header: Header) -> np.ndarray:
    """The picture as it is stored. It is decoded once.

    From a file in memory: `cv2.imread` writes into numpy's memory, where `cv2.imdecode` copies what it decoded, which
    takes the same memory again, and with 12 million pixels 23 of 55 ms (measured).
    """
    file = os.memfd_create("picture")
    try:
        os.write(file, header.file or data)
        image = cv2.imread(f"/proc/self/fd/{file}", None, WITH_ALPHA if header.alpha else OPAQUE)
    except cv2.error:
        image = None
    finally:
        os.close(file)
    if image is None:
        raise InvalidField(field, DAMAGED)
    return image


def _rgb(image: np.ndarray, header: Header) -> np.ndarray:
    """What the decoder gave, as 8 bits of red, green and blue."""
    if not header.alpha:
        return image
    if image.ndim == 3 and image.shape[2] == 4:
        return _over_white(image, premultiplied=header.premultiplied)
    rgb = cv2.cvtColor(_eight_bits(image), cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    if header.transparent_grey is not None:
        rgb[image == header.transparent_grey] = 255
    return rgb


def _eight_bits(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else cv2.convertScaleAbs(image, alpha=255 / np.iinfo(image.dtype).max)


def _over_white(bgra: np.ndarray, *, premultiplied: bool) -> np.ndarray:
    rgb = np.empty((*bgra.shape[:2], 3), np.uint8)
    scale = np.float32(255 / np.iinfo(bgra.dtype).max)
    rows = max(1, BLOCK_PIXELS // bgra.shape[1])
    for top in range(0, len(bgra), rows):
        block = bgra[top : top + rows].astype(np.float32) * scale
        alpha = block[..., 3:] / 255
        colours = block[..., 2::-1] if premultiplied else block[..., 2::-1] * alpha
        rgb[top : top + rows] = np.minimum(colours + 255 * (1 - alpha) + 0.5, 255)
    return rgb


def stretch(values: np.ndarray) -> np.ndarray:
    """A float map as uint8, its minimum 0 and its maximum 255; a constant map becomes 0.

    The rounding is that of `scipy.misc.bytescale`, which `scipy.misc.imresize` applied to float images.
    """
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.zeros(values.shape, np.uint8)
    return ((values - low) * (255.0 / (high - low)) + 0.5).astype(np.uint8)


def resize_map(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A uint8 map in another size: along each axis averaged where it shrinks, bilinear where it grows.

    That is how `scipy.misc.imresize` resized it.
    """
    least = (min(width, values.shape[1]), min(height, values.shape[0]))
    if least != values.shape[::-1]:
        values = cv2.resize(values, least, interpolation=cv2.INTER_AREA)
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)


def encode_npy(image: np.ndarray) -> bytes:
    """An array as a `.npy` file, see `numpy.lib.format`."""
    file = io.BytesIO()
    np.save(file, image, allow_pickle=False)
    return file.getvalue()


def encode_pickle(image: np.ndarray) -> bytes:
    """An array pickled so that Python 2 and 3 with NumPy 1 and 2 can read it.

    NumPy 2 names its helper `numpy._core.multiarray`, which NumPy before 1.26 does not have; both keep the old name
    for the sake of old pickles. Protocol 2 names it in plain text, once, in front of the data.
    """
    pickled = pickle.dumps(image, protocol=2)
    return pickled.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)


ENCODERS: Mapping[str, Callable[[np.ndarray], bytes]] = {
    "png": encode_png,
    "npy": encode_npy,
    "pickle": encode_pickle,
}
