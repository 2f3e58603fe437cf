"""Image files <-> arrays, with OpenCV."""

import io
import pickle  # written where a client asks for it, never read  # nosec B403
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.imaging.header import Header, Unsupported, read_header
from wsgiapp.pipelines.imaging.png import encode_png
from wsgiapp.pipelines.pipeline import ImageLimits

# A client's broken file is the client's problem and is answered; OpenCV would also write it to our log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# A picture's steps are too short to be split: OpenCV's threads, one a core in each worker, mostly wait for one another,
# and turn while they do.
cv2.setNumThreads(1)

# As stored: with alpha and all bits; but, unlike IMREAD_UNCHANGED, turned as the EXIF orientation says.
WITH_ALPHA = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
# Pixels that are laid over white at once: three numbers of four bytes for each of their channels.
BLOCK_PIXELS = 1 << 18


def decode_image(field: str, data: bytes, limits: ImageLimits) -> np.ndarray:
    """The picture as uint8 (height, width, 3) in RGB order.

    It is turned as its EXIF orientation says; transparency is laid over white, as a browser shows it. JPEG, PNG, WebP,
    GIF (first frame), BMP and TIFF (first page) are read. Raises `InvalidField` for what is no whole image of these,
    `TooLarge` for more pixels than `limits`, which is decided from the header alone.
    """
    if not data:
        raise InvalidField(field, "empty")
    header = _header(field, data)
    for width, height in ((header.width, header.height), header.tile):
        if width * height > limits.pixels:
            raise TooLarge(field, f"{width} x {height} pixels; the limit is {limits.pixels:,} pixels")
    image = _decode(np.frombuffer(data, np.uint8), header)
    if image is None:
        raise InvalidField(field, "an image file that is damaged or cut off")
    return image


def _header(field: str, data: bytes) -> Header:
    try:
        header = read_header(data)
    except Unsupported as exc:
        raise InvalidField(field, str(exc)) from exc
    except ValueError as exc:
        raise InvalidField(field, "an image file with a broken header") from exc
    if header is None:
        raise InvalidField(field, "not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
    return header


def _decode(data: np.ndarray, header: Header) -> np.ndarray | None:
    """Decode once; nothing where the file is damaged."""
    try:
        if not header.alpha:
            return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        image = cv2.imdecode(data, WITH_ALPHA)
        if image is None:
            return None
        if image.ndim == 3 and image.shape[2] == 4:
            return _over_white(image, premultiplied=header.premultiplied)
        rgb = cv2.cvtColor(_eight_bits(image), cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
        if header.transparent_grey is not None:
            rgb[image == header.transparent_grey] = 255
        return rgb
    except cv2.error:
        return None


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
