"""`ModelServer`: TensorFlow Serving over one long-lived gRPC channel, which all greenlets of a worker share."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

import gevent
import numpy as np
from google.protobuf import wrappers_pb2
from google.protobuf.message import DecodeError, Message

from wsgiapp import errors
from wsgiapp.backend.channel import CallError, Channel, Code
from wsgiapp.backend.interface import Target
from wsgiapp.backend.predict_request import Rows, encode_predict_request
from wsgiapp.tfserving.messages import (
    MODEL_MANAGEMENT,
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    Input,
    ModelServerConfig,
    ModelVersionStatus,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
    ReloadConfigRequest,
    ReloadConfigResponse,
    SignatureDefMap,
    error_codes_pb2,
)
from wsgiapp.tfserving.tensors import decode_tensor

Answer = TypeVar("Answer", bound=Message)

PREDICTIONS = "/tensorflow.serving.PredictionService"
MODELS = "/tensorflow.serving.ModelService"

ERROR_BY_CODE: Mapping[Code, type[errors.RequestError]] = {
    Code.INVALID_ARGUMENT: errors.InvalidArgument,
    Code.FAILED_PRECONDITION: errors.InvalidArgument,
    Code.OUT_OF_RANGE: errors.InvalidArgument,
    Code.UNAUTHENTICATED: errors.Unauthenticated,
    Code.PERMISSION_DENIED: errors.PermissionDenied,
    Code.NOT_FOUND: errors.NotFound,
    Code.ALREADY_EXISTS: errors.Conflict,
    Code.ABORTED: errors.Conflict,
    Code.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    Code.CANCELLED: errors.Cancelled,
    Code.UNKNOWN: errors.InternalError,
    Code.INTERNAL: errors.InternalError,
    Code.DATA_LOSS: errors.InternalError,
    Code.UNIMPLEMENTED: errors.Unimplemented,
    Code.UNAVAILABLE: errors.Unavailable,
    Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}

# Of these the channel's own words name addresses and timers, which is for the log. What the server itself says is kept,
# but for the deadline: the clocks of both end at the same moment.
DETAIL_BY_CODE: Mapping[Code, str] = {
    Code.UNAVAILABLE: "the model server cannot be reached now",
    Code.DEADLINE_EXCEEDED: errors.UNANSWERED,
}

# A call that finds no model server is tried again after these seconds: one that is back already is found, and one that
# is not costs the client half a second. All calls but a reload only read, so that a second try does no harm. What the
# server itself calls UNAVAILABLE, such as a full queue, is an answer: more calls would fill the queue further.
# Predictions go on trying, see `reconnect_wait_seconds`.
RETRY_PAUSES_SECONDS = (0.1, 0.15, 0.25)


class ModelServer:
    """A client of PredictionService and ModelService at `address` (host:port, or unix:/path).

    For `reconnect_wait_seconds` after it was lost predictions wait for it, within their deadlines; it may be about to
    come back. Later they fail soon.
    """

    def __init__(self, address: str, *, message_bytes: int, reconnect_wait_seconds: float = 0.0) -> None:
        self.address = address
        self._channel = Channel(address, message_bytes)
        self._reconnect_wait = reconnect_wait_seconds
        self._lost_at: float | None = None

    def predict(self, target: Target, inputs: Mapping[str, Rows], deadline: float) -> tuple[dict[str, np.ndarray], int]:
        """The outputs by name, and the version that answered. `deadline` is a point of `time.monotonic()`.

        A list of arrays is sent as one input, in which they follow one another along their first axis. Raises one of
        `errors.RequestError`.
        """
        request = encode_predict_request(target.spec(), inputs)
        response = self._call(f"{PREDICTIONS}/Predict", request, PredictResponse, deadline, waits=True)
        outputs = {name: decode_tensor(tensor) for name, tensor in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def classify(self, target: Target, examples: Input, deadline: float) -> tuple[ClassificationResult, int]:
        """The classes of each example, and the version that answered. Raises one of `errors.RequestError`."""
        request = ClassificationRequest(model_spec=target.spec(), input=examples).SerializeToString()
        response = self._call(f"{PREDICTIONS}/Classify", request, ClassificationResponse, deadline, waits=True)
        return response.result, response.model_spec.version.value

    def regress(self, target: Target, examples: Input, deadline: float) -> tuple[RegressionResult, int]:
        """The value of each example, and the version that answered. Raises one of `errors.RequestError`."""
        request = RegressionRequest(model_spec=target.spec(), input=examples).SerializeToString()
        response = self._call(f"{PREDICTIONS}/Regress", request, RegressionResponse, deadline, waits=True)
        return response.result, response.model_spec.version.value

    def metadata(self, target: Target, deadline: float) -> tuple[SignatureDefMap, int]:
        """The signatures of the target's version, and its number. Raises one of `errors.RequestError`."""
        request = GetModelMetadataRequest(model_spec=target.spec(), metadata_field=["signature_def"])
        method = f"{PREDICTIONS}/GetModelMetadata"
        response = self._call(method, request.SerializeToString(), GetModelMetadataResponse, deadline)
        signatures = SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(signatures):
            raise errors.InternalError("the model server answered metadata of another kind than signature_def")
        return signatures, response.model_spec.version.value

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        """The states of the target's versions; of one where it names a version or a label.

        Raises one of `errors.RequestError`.
        """
        request = GetModelStatusRequest(model_spec=target.spec()).SerializeToString()
        response = self._call(f"{MODELS}/GetModelStatus", request, GetModelStatusResponse, deadline)
        return list(response.model_version_status)

    def config(self, deadline: float) -> ModelServerConfig:
        """The active configuration. Raises `Unimplemented` where the model server is TF Serving itself."""
        return self._call(f"/{MODEL_MANAGEMENT}/GetConfig", b"", ModelServerConfig, deadline)

    def metrics(self, deadline: float) -> bytes:
        """The model server's metrics in Prometheus's text format. Raises `Unimplemented` where it is TF Serving."""
        return self._call(f"/{MODEL_MANAGEMENT}/GetMetrics", b"", wrappers_pb2.BytesValue, deadline).value

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        """Replace the active configuration. Raises one of `errors.RequestError`."""
        request = ReloadConfigRequest(config=config).SerializeToString()
        with translated_errors():
            answer = self._call_once(f"{MODELS}/HandleReloadConfigRequest", request, deadline)
        status = _decoded(ReloadConfigResponse, answer).status
        if status.error_code != error_codes_pb2.OK:
            raise ERROR_BY_CODE[Code(status.error_code)](status.error_message)

    def close(self) -> None:
        """Close the channel; calls in flight end as `Cancelled`."""
        self._channel.close()

    def _call(self, method: str, request: bytes, kind: type[Answer], deadline: float, *, waits: bool = False) -> Answer:
        with translated_errors():
            for pause in chain(RETRY_PAUSES_SECONDS, self._reconnect_pauses() if waits else ()):
                try:
                    return _decoded(kind, self._call_once(method, request, deadline))
                except CallError as exc:
                    if not _may_succeed_later(exc) or time.monotonic() + pause >= deadline:
                        raise
                gevent.sleep(pause)
            return _decoded(kind, self._call_once(method, request, deadline))

    def _reconnect_pauses(self) -> Iterator[float]:
        """Pauses for as long as it is not long since the model server was lost."""
        while self._lost_at is not None and time.monotonic() < self._lost_at + self._reconnect_wait:
            yield RETRY_PAUSES_SECONDS[-1]

    def _call_once(self, method: str, request: bytes, deadline: float) -> bytes:
        if time.monotonic() >= deadline:
            raise errors.DeadlineExceeded("the deadline passed before the model server could be called")
        try:
            answer = self._channel.call(method, request, deadline)
        except CallError as exc:
            if exc.is_answer:
                self._lost_at = None
            elif exc.code is Code.UNAVAILABLE and self._lost_at is None:
                self._lost_at = time.monotonic()
            raise
        self._lost_at = None
        return answer


def _may_succeed_later(error: CallError) -> bool:
    """Whether no model server was reached, or one that drains has cancelled a call that came a moment too late: so
    gRPC's own server does, and nobody else cancels what its caller waits for.
    """
    return error.code is (Code.CANCELLED if error.is_answer else Code.UNAVAILABLE)


def _decoded(kind: type[Answer], answer: bytes) -> Answer:
    try:
        return kind.FromString(answer)
    except DecodeError as exc:
        raise errors.InternalError(f"the model server's answer is not a {kind.DESCRIPTOR.name}") from exc


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn a gRPC error into one of `errors`, keeping the status message."""
    try:
        yield
    except CallError as exc:
        error = ERROR_BY_CODE[exc.code]
        if exc.is_answer and exc.code is not Code.DEADLINE_EXCEEDED:
            raise error(exc.details or exc.code.name) from exc
        if exc.code is Code.UNAVAILABLE:
            error = errors.Unreachable
        raise error(DETAIL_BY_CODE.get(exc.code) or exc.details or exc.code.name) from exc
