"""A version answers its recorded requests before it becomes AVAILABLE."""

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from support.serving_client import example, examples, model_spec, predict_request
from support.tensorflow_child import load_outcomes
from wsgiapp.tfserving.messages import InferenceTask, PredictionLog

REQUESTS = Path("assets.extra/tf_serving_warmup_requests")


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """As TFRecord files carry it (`tensorflow/core/lib/hash/crc32c.h`)."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def tfrecords(records: Iterable[bytes]) -> bytes:
    written = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        written += length + masked(length) + record + masked(record)
    return written


def predict_log(x: float) -> bytes:
    log = PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(model_spec("", "rows"), {"x": np.array([[x]], np.float32)}))
    return log.SerializeToString()


def example_logs() -> list[bytes]:
    """A record of each kind that takes examples, and one of no kind."""
    classify, regress, multiple = PredictionLog(), PredictionLog(), PredictionLog()
    one = examples(example(x=2.0))
    classify.classify_log.request.model_spec.signature_name = "classify_x_to_y"
    classify.classify_log.request.input.CopyFrom(one)
    regress.regress_log.request.model_spec.signature_name = "regress_x_to_y"
    regress.regress_log.request.input.CopyFrom(one)
    task = InferenceTask(model_spec=model_spec("any", "regress_x_to_y"), method_name="tensorflow/serving/regress")
    multiple.multi_inference_log.request.tasks.append(task)
    multiple.multi_inference_log.request.input.CopyFrom(one)
    return [log.SerializeToString() for log in (classify, regress, multiple, PredictionLog())]


def without_input(log: bytes) -> bytes:
    """A record of examples with nothing in it."""
    made = PredictionLog.FromString(log)
    getattr(made, made.WhichOneof("log_type")).request.ClearField("input")
    return made.SerializeToString()


@pytest.fixture(scope="module")
def outcomes(serving_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """How versions with different recorded requests load."""
    folder = tmp_path_factory.mktemp("warmup")
    session_run = PredictionLog()
    session_run.session_run_log.SetInParent()
    good = tfrecords([predict_log(1.0)])
    files = {
        "kinds": {
            "good": good,
            "empty": b"",
            "fails": tfrecords([predict_log(1.0), predict_log(-1.0)]),
            "bit_flipped": good[:20] + bytes([good[20] ^ 1]) + good[21:],
            "cut_off": good[:-1],
            "other_file": b"no records at all",
            "no_log": tfrecords([b"\xff\xff\xff"]),
            "session_run": tfrecords([session_run.SerializeToString()]),
            "maximum": tfrecords([PredictionLog().SerializeToString()]) * 1000,
            "too_many": tfrecords([PredictionLog().SerializeToString()]) * 1001,
        },
        "examples": {
            "each_kind": tfrecords(example_logs()),
            "classify": tfrecords([without_input(example_logs()[0])]),
            "regress": tfrecords([without_input(example_logs()[1])]),
            "multi_inference": tfrecords([without_input(example_logs()[2])]),
        },
    }
    folders = []
    for model, contents in files.items():
        for name, content in contents.items():
            folders.append(folder / name)
            shutil.copytree(serving_models / model / "1", folders[-1])
            (folders[-1] / REQUESTS).parent.mkdir()
            (folders[-1] / REQUESTS).write_bytes(content)
    return dict(zip((each.name for each in folders), load_outcomes(*folders), strict=True))


def test_the_checksum_is_the_standard_s() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("name", ["good", "empty", "maximum", "each_kind"])
def test_requests_that_are_answered(outcomes: dict[str, tuple[str, str]], name: str) -> None:
    assert outcomes[name] == ("OK", "")


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("fails", "INVALID_ARGUMENT", "warmup record 2 of"),
        ("fails", "INVALID_ARGUMENT", "x is negative"),
        ("classify", "INVALID_ARGUMENT", "Input is empty."),
        ("regress", "INVALID_ARGUMENT", "Input is empty."),
        ("multi_inference", "INVALID_ARGUMENT", "Input is empty."),
        ("bit_flipped", "DATA_LOSS", "Please verify your warmup data is in TFRecord format."),
        ("cut_off", "DATA_LOSS", "Please verify your warmup data is in TFRecord format."),
        ("other_file", "DATA_LOSS", "Please verify your warmup data is in TFRecord format."),
        ("no_log", "INVALID_ARGUMENT", "Failed to parse warmup record"),
        ("session_run", "UNIMPLEMENTED", "Unsupported log_type for warmup: 5"),
        ("too_many", "INVALID_ARGUMENT", "Number of warmup records exceeds the maximum (1000) at "),
    ],
)
def test_requests_that_fail_the_load(outcomes: dict[str, tuple[str, str]], name: str, code: str, text: str) -> None:
    found_code, found_text = outcomes[name]
    assert found_code == code
    assert text in found_text
    assert str(Path(name) / REQUESTS) in found_text
    assert "\n" not in found_text
