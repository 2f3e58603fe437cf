"""Image files <-> arrays, with OpenCV."""

import io
import pickle
from collections.abc import Callable, Mapping

import cv2
import imagesize
import numpy as np

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.imaging.png import encode_png
from wsgiapp.pipelines.pipeline import ImageLimits

# A client's broken file is the client's problem and is answered; OpenCV would also write it to our log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# A picture's steps are too short to be split: OpenCV's threads, one a core in each worker, mostly wait for one another,
# and turn while they do.
cv2.setNumThreads(1)

# The formats that are decoded, by their first bytes. Others that OpenCV knows are rare and less well tested.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
JPEG = SIGNATURES[0]


def decode_image(field: str, data: bytes, limits: ImageLimits) -> np.ndarray:
    """The picture as uint8 (height, width, 3) in RGB order.

    It is turned as its EXIF orientation says; transparency is laid over white, as a browser shows it. JPEG, PNG, WebP,
    GIF (first frame), BMP and TIFF are read. Raises `InvalidField` for what is no whole image of these, `TooLarge` for
    more pixels than `limits`, which is decided from the header alone.
    """
    if not data:
        raise InvalidField(field, "empty")
    if not data.startswith(SIGNATURES):
        raise InvalidField(field, "not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)")
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception as exc:  # whatever the header made it trip over
        raise InvalidField(field, "an image file with a broken header") from exc
    if width <= 0 or height <= 0:
        raise InvalidField(field, "an image file with a broken header")
    if width * height > limits.pixels:
        raise TooLarge(field, f"{width} x {height} pixels; the limit is {limits.pixels:,} pixels")
    image = _decode(np.frombuffer(data, np.uint8), may_have_alpha=not data.startswith(JPEG))
    if image is None:
        raise InvalidField(field, "an image file that is damaged or cut off")
    return image


def _decode(data: np.ndarray, *, may_have_alpha: bool) -> np.ndarray | None:
    try:
        if may_have_alpha:
            image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
            if image is not None and image.ndim == 3 and image.shape[2] == 4:
                return _over_white(image)
        return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None


def _over_white(bgra: np.ndarray) -> np.ndarray:
    full = np.float32(np.iinfo(bgra.dtype).max)
    alpha = bgra[..., 3:].astype(np.float32) / full
    rgb = bgra[..., 2::-1].astype(np.float32) * (np.float32(255) / full)
    return (rgb * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


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
