"""Image steps that all the peers share, with OpenCV and NumPy alone: also the unit that image CPU is measured in."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import orjson

SIDE = 320
MEAN = np.array((126.88, 120.24, 112.19), np.float32)


def network_input(file: bytes) -> tuple[np.ndarray, tuple[int, int]]:
    """float32 (1, SIDE, SIDE, 3), RGB minus the mean; and the picture's (height, width)."""
    image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("not an image")
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return (small - MEAN)[np.newaxis], (image.shape[0], image.shape[1])


def encode_mask(output: np.ndarray, height: int, width: int) -> bytes:
    """The model's map as a PNG of the picture's size, stretched to 0..255."""
    values = output.squeeze()
    low, high = float(values.min()), float(values.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    grey = ((values - low) * scale + 0.5).astype(np.uint8)
    return bytes(cv2.imencode(".png", cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR))[1])


def answer_json(png: bytes, height: int, width: int) -> bytes:
    """The answer to one picture."""
    encoded = base64.b64encode(png).decode("ascii")
    return orjson.dumps({"status": 0, "img_out": encoded, "encoding": "png", "shape": [height, width]})
