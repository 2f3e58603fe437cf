"""A client of the model server with TF Serving's own messages and stubs, as any client has them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from wsgiapp.tfserving.messages import (
    ClassificationRequest,
    ClassificationResponse,
    Example,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    Input,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
)
from wsgiapp.tfserving.stubs import ModelServiceStub, PredictionServiceStub
from wsgiapp.tfserving.tensors import Arrays, decode_tensor, encode_tensor

SECONDS = 60


def model_spec(model: str, signature: str = "", version: int | None = None, label: str = "") -> ModelSpec:
    spec = ModelSpec(name=model, signature_name=signature)
    if version is not None:
        spec.version.value = version
    elif label:
        spec.version_label = label
    return spec


def predict_request(
    spec: ModelSpec, inputs: Arrays, outputs: Sequence[str] = (), *, as_content: bool = True
) -> PredictRequest:
    request = PredictRequest(model_spec=spec, output_filter=outputs)
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(encode_tensor(array, as_content=as_content))
    return request


def example(**features: Any) -> Example:
    """A `tf.Example`; numbers go to `float_list`, bytes to `bytes_list`."""
    made = Example()
    for name, value in features.items():
        feature = made.features.feature[name]
        (feature.bytes_list if isinstance(value, bytes) else feature.float_list).value.append(value)
    return made


def examples(*listed: Example, context: Example | None = None) -> Input:
    made = Input()
    if context is None:
        made.example_list.examples.extend(listed)
    else:
        made.example_list_with_context.examples.extend(listed)
        made.example_list_with_context.context.CopyFrom(context)
    return made


def outputs_of(response: PredictResponse) -> dict[str, Any]:
    """The outputs as plain lists and numbers."""
    return {name: decode_tensor(tensor).tolist() for name, tensor in response.outputs.items()}


def failure(call: Callable[..., object], *arguments: object) -> tuple[str, str]:
    """The status code and the text that a call ends with."""
    try:
        call(*arguments)
    except grpc.RpcError as exc:
        return exc.code().name, exc.details()
    raise AssertionError("the call was answered")


class ServingClient:
    """Both services over one channel."""

    def __init__(self, channel: grpc.Channel, address: str) -> None:
        self.channel, self.address = channel, address
        self.predictions = PredictionServiceStub(channel)
        self.models = ModelServiceStub(channel)

    def predict(self, request: PredictRequest) -> PredictResponse:
        return self.predictions.Predict(request, timeout=SECONDS)

    def classify(self, spec: ModelSpec, inputs: Input) -> ClassificationResponse:
        return self.predictions.Classify(ClassificationRequest(model_spec=spec, input=inputs), timeout=SECONDS)

    def regress(self, spec: ModelSpec, inputs: Input) -> RegressionResponse:
        return self.predictions.Regress(RegressionRequest(model_spec=spec, input=inputs), timeout=SECONDS)

    def multi_inference(self, tasks: Sequence[tuple[ModelSpec, str]], inputs: Input) -> MultiInferenceResponse:
        request = MultiInferenceRequest(input=inputs)
        for spec, method in tasks:
            request.tasks.add(model_spec=spec, method_name=f"tensorflow/serving/{method}")
        return self.predictions.MultiInference(request, timeout=SECONDS)

    def metadata(self, spec: ModelSpec, *fields: str) -> GetModelMetadataResponse:
        request = GetModelMetadataRequest(model_spec=spec, metadata_field=fields)
        return self.predictions.GetModelMetadata(request, timeout=SECONDS)

    def status(self, spec: ModelSpec) -> GetModelStatusResponse:
        return self.models.GetModelStatus(GetModelStatusRequest(model_spec=spec), timeout=SECONDS)


@contextmanager
def connected(address: str) -> Iterator[ServingClient]:
    with grpc.insecure_channel(address) as channel:
        yield ServingClient(channel, address)
