"""PredictionService and ModelService: decode, ask the manager, encode."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from wsgiapp.codec import decode_tensor, encode_tensor
from wsgiapp.errors import InternalError
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.manager import Manager
from wsgiapp.protos import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServiceServicer,
    PredictionServiceServicer,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)

SIGNATURE_DEF = "signature_def"


@contextmanager
def _aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status of a `ServingError`."""
    try:
        yield
    except ServingError as exc:
        context.abort(exc.code, str(exc))
    except InternalError as exc:  # a tensor in the request that cannot be read
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))


class PredictionService(PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    def __init__(self, manager: Manager, *, tensor_content: bool) -> None:
        self._manager = manager
        self._tensor_content = tensor_content

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        with _aborting(context):
            inputs = {name: decode_tensor(tensor) for name, tensor in request.inputs.items()}
            with self._manager.lease(request.model_spec) as (version, servable):
                outputs = servable.predict(request.model_spec.signature_name, inputs, request.output_filter)
            response = PredictResponse(model_spec=request.model_spec)
            response.model_spec.version.value = version
            response.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(encode_tensor(array, as_content=self._tensor_content))
        return response

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        with _aborting(context):
            if not request.metadata_field:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field"
                )
            for field in request.metadata_field:
                if field != SIGNATURE_DEF:
                    raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
            signatures = SignatureDefMap()
            with self._manager.lease(request.model_spec) as (version, servable):
                for name, signature in servable.signatures.items():
                    signatures.signature_def[name].CopyFrom(signature)
            response = GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
            response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def GetModelStatus(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        with _aborting(context):
            return GetModelStatusResponse(model_version_status=self._manager.status(request.model_spec))
