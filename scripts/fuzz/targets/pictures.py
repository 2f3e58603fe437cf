"""Image files, up to their pixels."""

from __future__ import annotations

import cv2
import numpy as np

from fuzz.targets.target import Target, WrongResult
from wsgiapp.errors import RequestError
from wsgiapp.pipelines.imaging.headers.readers import read_header
from wsgiapp.pipelines.imaging.images import decode_image
from wsgiapp.pipelines.pipeline import ImageLimits

LIMITS = ImageLimits(pixels=100_000)


def _image_file(data: bytes) -> None:
    try:
        image = decode_image("img", data, LIMITS)
    except RequestError:
        return
    header = read_header(data)
    if header is None or sorted(image.shape[:2]) != sorted((header.height, header.width)):
        raise WrongResult(f"{data!r}: {image.shape} from {header}")
    if image.dtype != np.uint8 or image.shape[2] != 3:
        raise WrongResult(f"{data!r}: {image.dtype} {image.shape}")


def _seeds() -> tuple[bytes, ...]:
    colours = np.random.default_rng(1).integers(0, 255, (8, 12, 4), np.uint8)
    kinds = {".png": colours, ".jpg": colours[..., :3], ".webp": colours, ".bmp": colours[..., :3], ".tiff": colours}
    files = [bytes(cv2.imencode(kind, image)[1]) for kind, image in kinds.items()]
    progressive = cv2.imencode(".jpg", colours[..., :3], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    return (*files, bytes(progressive), bytes(cv2.imencode(".png", colours[..., 0])[1]), gif)


TARGETS = (Target("image_file", _image_file, _seeds()),)
