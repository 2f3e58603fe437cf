"""`ModelServer`: TensorFlow Serving over one long-lived gRPC channel.

The channel is shared by all greenlets of a worker. Each call blocks a native thread of a pool, and the greenlet waits
for the thread, while the loop turns. gRPC's own way to wait without a thread, `future()`, starts a thread whenever
there is a first call in flight and ends it with the last one, which costs more (measured, one request at a time: 1.9 ms
of CPU each instead of 3.4 ms; with 20 at a time the two are equal).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gevent
import grpc
import numpy as np
from google.protobuf import empty_pb2, wrappers_pb2

from wsgiapp import errors
from wsgiapp.codec import decode_tensor
from wsgiapp.protos import (
    MODEL_MANAGEMENT,
    ClassificationRequest,
    ClassificationResult,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    Input,
    ModelServerConfig,
    ModelServiceStub,
    ModelSpec,
    ModelVersionStatus,
    PredictionServiceStub,
    PredictResponse,
    RegressionRequest,
    RegressionResult,
    ReloadConfigRequest,
    SignatureDefMap,
    error_codes_pb2,
)
from wsgiapp.threads import Threads
from wsgiapp.wire import Rows, encode_predict_request

ERRORS: Mapping[grpc.StatusCode, type[errors.RequestError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.FAILED_PRECONDITION: errors.InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNKNOWN: errors.InternalError,
    grpc.StatusCode.INTERNAL: errors.InternalError,
    grpc.StatusCode.DATA_LOSS: errors.InternalError,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}

# gRPC speaks of addresses and timers here, which is for the log; elsewhere the model server's words are kept.
TEXTS: Mapping[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "the model server cannot be reached now",
    grpc.StatusCode.DEADLINE_EXCEEDED: "the model server did not answer before the deadline",
}

# After a lost connection gRPC makes a new one only now and then, and meanwhile fails calls at once. So a call that
# finds none is tried again after these seconds, which together are longer than gRPC's longest pause: a model server
# that is back already is found, and one that is not costs the client half a second. All calls only read, so that a
# second try does no harm.
LONGEST_RECONNECT_PAUSE_SECONDS = 0.25
RETRY_PAUSES_SECONDS = (0.1, 0.15, 0.25)


@dataclass(frozen=True, slots=True)
class Target:
    """What to call: a model, and its version or label (the newest version where neither is set)."""

    model: str
    signature: str = "serving_default"
    version: int | None = None
    label: str = ""

    def spec(self) -> ModelSpec:
        """As TF Serving's message."""
        spec = ModelSpec(name=self.model, signature_name=self.signature)
        if self.version is not None:
            spec.version.value = self.version
        elif self.label:
            spec.version_label = self.label
        return spec


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn a gRPC error into one of `errors`, keeping the model server's own words."""
    try:
        yield
    except grpc.RpcError as exc:
        code, details = exc.code(), exc.details()
        raise ERRORS[code](TEXTS.get(code) or details or code.name) from exc


# By number, as `util.StatusProto` carries them.
CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class ModelServer:
    """A client of PredictionService and ModelService at `address` (host:port, or unix:/path).

    `max_calls` are in flight at the same time, on as many threads at most; further ones wait.
    """

    def __init__(self, address: str, *, message_bytes: int, max_calls: int) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(
            address,
            options=[
                # gRPC's defaults wait up to two minutes before they look whether a lost server is back. Its limit of
                # 20 s for one attempt stays: a server that takes the connection and then hangs is told from one that
                # is not there, and ends its callers' calls at their deadlines.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", int(LONGEST_RECONNECT_PAUSE_SECONDS * 1000)),
                ("grpc.max_send_message_length", message_bytes),
                ("grpc.max_receive_message_length", message_bytes),
                ("grpc.enable_http_proxy", 0),
            ],
        )
        predictions = PredictionServiceStub(self._channel)
        models = ModelServiceStub(self._channel)
        self._predict = self._channel.unary_unary(  # takes bytes
            "/tensorflow.serving.PredictionService/Predict", response_deserializer=PredictResponse.FromString
        )
        self._classify = predictions.Classify
        self._regress = predictions.Regress
        self._get_model_metadata = predictions.GetModelMetadata
        self._get_model_status = models.GetModelStatus
        self._reload_config = models.HandleReloadConfigRequest
        self._get_config = self._channel.unary_unary(
            f"/{MODEL_MANAGEMENT}/GetConfig",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=ModelServerConfig.FromString,
        )
        self._get_metrics = self._channel.unary_unary(
            f"/{MODEL_MANAGEMENT}/GetMetrics",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=wrappers_pb2.BytesValue.FromString,
        )
        self._threads = Threads(max_calls)

    def predict(self, target: Target, inputs: Mapping[str, Rows], deadline: float) -> tuple[dict[str, np.ndarray], int]:
        """The outputs by name, and the version that answered. `deadline` is a point of `time.monotonic()`.

        A list of arrays is sent as one input, in which they follow one another along their first axis. Raises one of
        `errors.RequestError`.
        """
        request = encode_predict_request(target.spec(), inputs)
        response = self._call(self._predict, request, deadline)
        outputs = {name: decode_tensor(tensor) for name, tensor in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def classify(self, target: Target, examples: Input, deadline: float) -> tuple[ClassificationResult, int]:
        """The classes of each example, and the version that answered. Raises one of `errors.RequestError`."""
        request = ClassificationRequest(model_spec=target.spec(), input=examples)
        response = self._call(self._classify, request, deadline)
        return response.result, response.model_spec.version.value

    def regress(self, target: Target, examples: Input, deadline: float) -> tuple[RegressionResult, int]:
        """The value of each example, and the version that answered. Raises one of `errors.RequestError`."""
        request = RegressionRequest(model_spec=target.spec(), input=examples)
        response = self._call(self._regress, request, deadline)
        return response.result, response.model_spec.version.value

    def metadata(self, target: Target, deadline: float) -> tuple[SignatureDefMap, int]:
        """The signatures of the target's version, and its number. Raises one of `errors.RequestError`."""
        request = GetModelMetadataRequest(model_spec=target.spec(), metadata_field=["signature_def"])
        response = self._call(self._get_model_metadata, request, deadline)
        signatures = SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(signatures):
            raise errors.InternalError("the model server answered metadata of another kind than signature_def")
        return signatures, response.model_spec.version.value

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        """The states of the target's versions; of one where it names a version or a label.

        Raises one of `errors.RequestError`.
        """
        request = GetModelStatusRequest(model_spec=target.spec())
        return list(self._call(self._get_model_status, request, deadline).model_version_status)

    def config(self, deadline: float) -> ModelServerConfig:
        """The configuration in force. Raises `Unimplemented` where the model server is TF Serving itself."""
        return self._call(self._get_config, empty_pb2.Empty(), deadline)

    def metrics(self, deadline: float) -> bytes:
        """The model server's counters in Prometheus's text format. Raises `Unimplemented` where it is TF Serving."""
        return self._call(self._get_metrics, empty_pb2.Empty(), deadline).value

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        """Put a configuration in force instead of the present one. Raises one of `errors.RequestError`."""
        with translated_errors():
            status = self._call_once(self._reload_config, ReloadConfigRequest(config=config), deadline).status
        if status.error_code != error_codes_pb2.OK:
            raise ERRORS[CODES[status.error_code]](status.error_message)

    def close(self) -> None:
        """Close the channel; calls in flight end as `Cancelled`."""
        self._channel.close()

    def _call(self, method: grpc.UnaryUnaryMultiCallable, request: Any, deadline: float) -> Any:
        with translated_errors():
            for pause in RETRY_PAUSES_SECONDS:
                try:
                    return self._call_once(method, request, deadline)
                except grpc.RpcError as exc:
                    if exc.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() + pause >= deadline:
                        raise
                gevent.sleep(pause)
            return self._call_once(method, request, deadline)

    def _call_once(self, method: grpc.UnaryUnaryMultiCallable, request: Any, deadline: float) -> Any:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise errors.DeadlineExceeded("the deadline passed before the model server could be called")
        return self._threads.run(method, request, remaining)
