"""Salient object detection: a picture in, a grey map of the same size out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from wsgiapp.errors import InternalError, InvalidField, SettingsError
from wsgiapp.pipelines.base64text import decode_base64, encode_base64
from wsgiapp.pipelines.imaging.headers.told_size import told_size
from wsgiapp.pipelines.imaging.images import ENCODERS, decode_nearest, resize_map, stretch
from wsgiapp.pipelines.pipeline import Media, Payload, Prepared, Resources, Result, reject_unknown_options
from wsgiapp.tfserving.rest_json.limits import answer_too_large
from wsgiapp.tfserving.tensors import Arrays

BASE64_FACTOR = 4 / 3
# Bytes a pixel at most, the map included: its rows, their file, its text in base64 (measured with noise).
ANSWER_BYTES = {"png": 5, "npy": 4, "pickle": 7}
# Of a usual photograph.
USUAL_PIXELS = 1_000_000
# Enough of a picture for the headers of most (a whole file may take milliseconds to read through), and what a pixel
# takes where that does not tell its size.
HEAD_CHARS = 16 * 1024
BYTES_PER_PIXEL = 0.25


class _Wanted(NamedTuple):
    height: int
    width: int
    encoding: str
    as_picture: bool


class Saliency:
    """One image a call: field `img`, an optional `encoding` of the answer.

    Options: `size` (320; side of the model's square input, pixels), `mean` (the RGB mean to subtract), `input`
    ("img_in") and `output` ("img_out"; names in the signature), `encoding` (of answers that do not ask for one: png,
    npy or pickle; the service's, "png").
    """

    padding: Mapping[str, Any] = {}
    heavy = True

    def __init__(self, options: Mapping[str, Any], resources: Resources) -> None:
        reject_unknown_options(options, {"size", "mean", "input", "output", "encoding"})
        self._limits = resources.image
        self._answer_bytes = resources.answer_bytes
        self._size = options.get("size", 320)
        mean = np.asarray(options.get("mean", (126.88, 120.24, 112.19)), np.float32)
        self._input = str(options.get("input", "img_in"))
        self._output = str(options.get("output", "img_out"))
        self._encoding = options.get("encoding", resources.encoding)
        if type(self._size) is not int or self._size < 1:
            raise SettingsError(f"options.size = {self._size}: not a number of pixels")
        if mean.shape != (3,):
            raise SettingsError(f"options.mean = {options['mean']}: not three numbers, red, green, blue")
        if self._encoding not in ENCODERS:
            raise SettingsError(f'options.encoding = "{self._encoding}": not one of {", ".join(ENCODERS)}')
        self._mean_row = np.tile(mean, self._size)

    def warm_up(self) -> None:
        """Run every step once: OpenCV sets itself up in its first calls."""
        white = np.full((8, 8), 255, np.uint8)
        prepared = self.preprocess(Payload(files={"img": ENCODERS["png"](white)}))
        self.postprocess({self._output: np.zeros((1, self._size, self._size, 1), np.float32)}, prepared.context)

    def preprocess(self, payload: Payload) -> Prepared:
        """The picture as float32 (1, size, size, 3), RGB minus the mean, resized to the nearest pixel."""
        encoding = payload.fields.get("encoding", self._encoding)
        if not isinstance(encoding, str) or encoding not in ENCODERS:
            raise InvalidField("encoding", f"not one of {', '.join(ENCODERS)}")
        small, height, width = decode_nearest("img", _file(payload), self._limits, self._size)
        if encoding != "png" and height * width * BASE64_FACTOR > self._answer_bytes:
            raise answer_too_large(self._answer_bytes, "ask for encoding=png, or send a smaller picture")
        return Prepared(self._inputs(small), _Wanted(height, width, encoding, payload.as_picture))

    def _inputs(self, small: np.ndarray) -> Arrays:
        # row by row: numpy takes seven times as long over rows of three numbers
        rows = small.reshape(self._size, -1) - self._mean_row
        return {self._input: rows.reshape(1, *small.shape)}

    def cost(self, payload: Payload) -> float:
        """By the pixels that the picture's beginning tells of; by its bytes where it tells nothing."""
        try:
            data, size = _head(payload)
        except InvalidField:
            return 1.0
        told = told_size(data)
        pixels = told[0] * told[1] if told else size / BYTES_PER_PIXEL
        return max(1.0, pixels / USUAL_PIXELS)

    def postprocess(self, outputs: Arrays, context: _Wanted) -> Result:
        """The map as uint8 (height, width), stretched to 0..255: encoded in JSON, or a bare PNG."""
        saliency = outputs.get(self._output)
        if saliency is None:
            raise InternalError(f"the model has no output {self._output}; it has {', '.join(outputs)}")
        saliency = saliency.squeeze()
        if saliency.ndim != 2 or not np.isfinite(saliency).all():
            raise InternalError(f"the output {self._output} is not one map of finite numbers")
        encoding = "png" if context.as_picture else context.encoding
        memory = self._limits.memory
        memory.reserve(min(memory.max_bytes, ANSWER_BYTES[encoding] * context.height * context.width))
        mask = resize_map(stretch(saliency), context.height, context.width)
        if context.as_picture:
            return Media(ENCODERS[encoding](mask), "image/png")
        return {
            "img_out": encode_base64(ENCODERS[encoding](mask)),
            "encoding": encoding,
            "shape": [context.height, context.width],
        }

    def examples(self) -> Sequence[Arrays]:
        """A dark square on white and a white disc on a slope of grey: their maps have little in common."""
        square = np.full((64, 64, 3), 255, np.uint8)
        square[16:48, 16:48] = 40
        slope = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[np.newaxis, :, np.newaxis], 64, axis=0)
        disc = cv2.circle(np.repeat(slope, 3, axis=2), (40, 30), 12, (255, 255, 255), -1)
        return [self._inputs(self._resized(image)) for image in (square, disc)]

    def _resized(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (self._size, self._size), interpolation=cv2.INTER_NEAREST)


def _head(payload: Payload) -> tuple[bytes, int]:
    """The beginning of the picture and its size in bytes."""
    encoded = payload.fields.get("img")
    if payload.files or not isinstance(encoded, str):
        data = _file(payload)
        return data[:HEAD_CHARS], len(data)
    return _file(Payload({"img": encoded[:HEAD_CHARS]})), len(encoded) * 3 // 4


def _file(payload: Payload) -> bytes:
    for name in ("img", ""):
        if name in payload.files:
            return payload.files[name]
    if "img" not in payload.fields:
        raise InvalidField("img", "missing; send base64 of an image file, a multipart file, or the bare file as body")
    encoded = payload.fields["img"]
    if not isinstance(encoded, str):
        raise InvalidField("img", "not a text with base64 of an image file")
    if encoded[:64].lstrip()[:5].lower() == "data:":  # what a browser's canvas.toDataURL() gives
        encoded = encoded.partition(",")[2]
    return decode_base64("img", encoded)
