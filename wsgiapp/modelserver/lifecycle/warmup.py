"""The requests that a version answers before it becomes AVAILABLE (TF Serving's `saved_model_warmup_util.cc`).

`assets.extra/tf_serving_warmup_requests` is a TFRecord file of `PredictionLog`s. What TensorFlow does at a graph's
first run (optimising it, choosing kernels) is done for them, instead of for the first clients.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from google.protobuf.message import DecodeError

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.inference.classify import classify
from wsgiapp.modelserver.inference.multi_inference import multi_inference
from wsgiapp.modelserver.inference.predict import predict
from wsgiapp.modelserver.inference.regress import regress
from wsgiapp.modelserver.servables import runtime
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import PredictionLog

log = logging.getLogger(__name__)

REQUESTS = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000

CALLS = {
    "predict_log": predict,
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": multi_inference,
}


def warm_up(servable: Servable, path: Path, options: InferenceOptions, *, iterations: int = 1) -> None:
    """Answer the version's recorded requests, if it has any, each `iterations` times; none of them for 0.

    Raises `ServingError` that names the file: for a record that fails, that cannot be read, or that is one too many.
    """
    file = path / REQUESTS
    if iterations < 1 or not file.exists():
        return
    started, count = time.monotonic(), 0
    for count, record in enumerate(_records(file), start=1):
        if count > MAX_RECORDS:
            raise invalid_argument(texts.TOO_MANY_WARMUP_RECORDS.format(maximum=MAX_RECORDS, path=file))
        try:
            for _ in range(iterations):
                _replay(servable, record, options)
        except ServingError as exc:
            reason = " ".join(str(exc).split())  # in one line: it becomes the status of the version
            raise ServingError(exc.code, f"warmup record {count} of {file} failed: {reason}") from exc
    log.info("%d warmup records of %s answered in %.1f s", count, file, time.monotonic() - started)


def _records(file: Path) -> Iterator[bytes]:
    """The records of a TFRecord file, their checksums verified."""
    try:
        yield from runtime.tf_record_iterator(str(file))
    except runtime.errors.DataLossError as exc:
        problem = texts.WARMUP_NOT_TFRECORD.format(error=f"{file}: {exc.message}")
        raise ServingError(grpc.StatusCode.DATA_LOSS, problem) from exc


def _replay(servable: Servable, record: bytes, options: InferenceOptions) -> None:
    try:
        entry = PredictionLog.FromString(record)
    except DecodeError as exc:
        raise invalid_argument(texts.WARMUP_RECORD_NOT_PARSED.format(record=exc)) from exc
    kind = entry.WhichOneof("log_type")
    if kind in CALLS:
        CALLS[kind](servable, getattr(entry, kind).request, options)
    elif kind is not None:
        number = PredictionLog.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, texts.UNSUPPORTED_WARMUP_LOG.format(log_type=number))
