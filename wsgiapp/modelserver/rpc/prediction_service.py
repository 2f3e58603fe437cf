"""PredictionService: each call leases the version that it asks for, and its answer names that version."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from wsgiapp.modelserver.errors import ServingError, aborting, invalid_argument
from wsgiapp.modelserver.inference.classify import classify
from wsgiapp.modelserver.inference.multi_inference import multi_inference
from wsgiapp.modelserver.inference.predict import predict
from wsgiapp.modelserver.inference.regress import regress
from wsgiapp.modelserver.lifecycle.leases import Leases
from wsgiapp.modelserver.rpc.admission import Admission
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import (
    ClassificationRequest,
    ClassificationResponse,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    SignatureDefMap,
)
from wsgiapp.tfserving.stubs import PredictionServiceServicer

SIGNATURE_DEF = "signature_def"


class PredictionService(PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, leases: Leases, options: InferenceOptions, admission: Admission) -> None:
        self._leases = leases
        self._options = options
        self._admission = admission

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        with aborting(context), self._slot(_spec(request), context) as (version, servable):
            response = predict(servable, request, self._options)
            response.model_spec.version.value = version
            return response

    def Classify(self, request: ClassificationRequest, context: grpc.ServicerContext) -> ClassificationResponse:
        with aborting(context), self._slot(_spec(request), context) as (version, servable):
            response = classify(servable, request, self._options)
            response.model_spec.version.value = version
            return response

    def Regress(self, request: RegressionRequest, context: grpc.ServicerContext) -> RegressionResponse:
        with aborting(context), self._slot(_spec(request), context) as (version, servable):
            response = regress(servable, request, self._options)
            response.model_spec.version.value = version
            return response

    def MultiInference(self, request: MultiInferenceRequest, context: grpc.ServicerContext) -> MultiInferenceResponse:
        spec = request.tasks[0].model_spec if request.tasks else ModelSpec()
        with aborting(context), self._slot(spec, context) as (version, servable):
            response = multi_inference(servable, request, self._options)
            for result in response.results:
                result.model_spec.version.value = version
            return response

    def GetModelMetadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        with aborting(context):
            spec = _spec(request)
            if not request.metadata_field:
                raise invalid_argument(texts.NO_METADATA_FIELD)
            for field in request.metadata_field:
                if field != SIGNATURE_DEF:
                    raise invalid_argument(texts.UNSUPPORTED_METADATA_FIELD.format(field=field))
            signatures = SignatureDefMap()
            with self._lease(spec, context) as (version, servable):
                for name, signature in servable.signatures.items():
                    signatures.signature_def[name].CopyFrom(signature)
            response = GetModelMetadataResponse()
            response.model_spec.name = spec.name
            response.model_spec.version.value = version
            response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response

    @contextmanager
    def _slot(self, spec: ModelSpec, context: grpc.ServicerContext) -> Iterator[tuple[int, Servable]]:
        """As `_lease`, and a slot to run it in. What is not there is not waited for."""
        with self._lease(spec, context) as leased, self._admission.slot(spec.name, context):
            yield leased

    @contextmanager
    def _lease(self, spec: ModelSpec, context: grpc.ServicerContext) -> Iterator[tuple[int, Servable]]:
        """As `Leases.lease`; nothing is run for a call that ended while it waited for a thread."""
        if not spec.name:
            raise invalid_argument(texts.NO_MODEL_NAME)
        if not context.is_active():
            raise ServingError(grpc.StatusCode.CANCELLED, "the call was cancelled, or timed out, before it was begun")
        with self._leases.lease(spec) as leased:
            yield leased


def _spec(
    request: PredictRequest | ClassificationRequest | RegressionRequest | GetModelMetadataRequest,
) -> ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid_argument(texts.MISSING_MODEL_SPEC)
    return request.model_spec
