"""What is sent: the held-out sentences of the demo corpus, and photographs of one megapixel."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import grpc
import numpy as np

from bench.cases import ImageCase, RestCase, TextCase, post, post_json
from bench.peers.picture import encode_mask, network_input
from bench.peers.words import segment
from wsgiapp.tfserving.messages import PredictRequest
from wsgiapp.tfserving.stubs import PredictionServiceStub
from wsgiapp.tfserving.tensors import decode_tensor, encode_tensor

CORPUS = Path(__file__).resolve().parent.parent / "models/lstm/corpus"
TEXT_PATH, IMAGE_PATH, REST_PATH = "/lstm/predict", "/cv_sod/predict", "/v1/models/lstm:predict"
# The size of the photographs: (width, height), each about a megapixel.
SIZES = ((1152, 868), (868, 1152), (1000, 1000), (1280, 780), (1176, 850), (940, 1064), (1024, 976), (1224, 816))
JPEG_QUALITY = 90
# A sentence of which the model is this unsure could change its label within the tolerance of the comparison.
MIN_MARGIN = 5e-3


class ModelServer:
    """The model server, asked row by row: what it says is what every system must answer."""

    def __init__(self, address: str) -> None:
        limit = 64 * 2**20
        options = [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", limit)]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = PredictionServiceStub(self._channel)

    def texts(self, lines: Sequence[str]) -> dict[str, TextCase]:
        """A case for each sentence, in a shuffled order that is always the same."""
        cases = {}
        for line in random.Random(1).sample(lines, len(lines)):
            outputs = self._predict(text_request(segment(line)))
            softmax = [float(value) for value in outputs["softmax"][0]]
            ordered = sorted(softmax)
            if ordered[-1] - ordered[-2] >= MIN_MARGIN:
                label, class_id = outputs["labels"][0].decode(), int(outputs["classes_id"][0])
                cases[line] = TextCase(post_json(TEXT_PATH, {"line": line}), label, class_id, tuple(softmax))
        return cases

    def images(self, photographs: Iterable[bytes]) -> list[ImageCase]:
        """A case for each JPEG file."""
        cases = []
        for jpeg in photographs:
            pixels, (height, width) = network_input(jpeg)
            request = PredictRequest()
            request.model_spec.name = "cv_sod"
            request.model_spec.signature_name = "serving_default"
            request.inputs["img_in"].CopyFrom(encode_tensor(pixels))
            mask = encode_mask(self._predict(request)["img_out"], height, width)
            cases.append(ImageCase(post(IMAGE_PATH, jpeg, "image/jpeg"), mask))
        return cases

    def close(self) -> None:
        self._channel.close()

    def _predict(self, request: PredictRequest) -> dict[str, np.ndarray]:
        outputs = self._stub.Predict(request, timeout=60).outputs
        return {name: decode_tensor(tensor) for name, tensor in outputs.items()}


def rest_case(line: str, case: TextCase) -> RestCase:
    """The same sentence, segmented, for TensorFlow Serving's REST API."""
    words = segment(line)
    return RestCase(post_json(REST_PATH, {"instances": [{"words": words, "nwords": len(words)}]}), case)


def text_request(words: Sequence[str]) -> PredictRequest:
    """One segmented sentence as the model takes it."""
    request = PredictRequest()
    request.model_spec.name = "lstm"
    request.model_spec.signature_name = "serving_default"
    row = np.array([[word.encode() for word in words]], dtype=object)
    request.inputs["words"].CopyFrom(encode_tensor(row))
    request.inputs["nwords"].CopyFrom(encode_tensor(np.array([len(words)], np.int32)))
    return request


def sentences() -> list[str]:
    """Reviews and short sentences that the demo model was not trained on."""
    lines = []
    for name in ("heldout.tsv", "short.tsv"):
        rows = (CORPUS / name).read_text(encoding="utf-8").splitlines()
        lines += [row.partition("\t")[2] for row in rows if row]
    return lines


def photographs(folder: Path | None = None) -> list[bytes]:
    """JPEG files: those of `folder`; or views of the one photograph that comes with Matplotlib, a megapixel each.

    A view that is only enlarged would be cheaper to decode than what a camera writes, so it gets a camera's grain.
    """
    if folder is not None:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
        if not files:
            raise FileNotFoundError(f"{folder}: no JPEG files")
        return [path.read_bytes() for path in files]
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    source = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert source is not None
    return [_view(source, size, seed) for seed, size in enumerate(SIZES)]


def _view(source: np.ndarray, size: tuple[int, int], seed: int) -> bytes:
    """A cut of `source`, perhaps mirrored, in another light, enlarged to `size` (width, height)."""
    rng = np.random.default_rng(seed)
    height, width = source.shape[:2]
    left, top = (int(rng.integers(0, side // 6)) for side in (width, height))
    cut = source[top : height - height // 6 + top, left : width - width // 6 + left]
    if seed % 2:
        cut = cut[:, ::-1]
    view = cv2.resize(cut, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) * rng.uniform(0.8, 1.15)
    grainy = np.clip(view + rng.normal(0, 4, view.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", grainy, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
