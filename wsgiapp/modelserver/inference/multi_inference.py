"""MultiInference: several signatures on the same examples in one run (TF Serving's `multi_inference.cc`)."""

import grpc

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.inference import classify, regress
from wsgiapp.modelserver.inference.examples import run_on_examples
from wsgiapp.modelserver.servables import signatures
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable, answered_spec, signature_key
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import (
    InferenceResult,
    InferenceTask,
    MultiInferenceRequest,
    MultiInferenceResponse,
    SignatureDef,
)

ENDPOINTS = {signatures.CLASSIFY: classify.endpoints, signatures.REGRESS: regress.endpoints}


def multi_inference(
    servable: Servable, request: MultiInferenceRequest, options: InferenceOptions
) -> MultiInferenceResponse:
    """The results of the tasks, in their order; the caller adds the version. Raises `ServingError`.

    Every input tensor of the signatures gets the same examples: each signature of TensorFlow 2 has one of its own.
    """
    asked = _signatures(servable, request)
    ends = [
        ENDPOINTS[task.method_name](signature, options) for task, signature in zip(request.tasks, asked, strict=True)
    ]
    fetches = list(dict.fromkeys(name for _, names in ends for name in names))
    values, count = run_on_examples(servable, [feed for feed, _ in ends], request.input, fetches)
    response = MultiInferenceResponse()
    for task, signature in zip(request.tasks, asked, strict=True):
        answer = InferenceResult(model_spec=answered_spec(task.model_spec))
        if task.method_name == signatures.CLASSIFY:
            answer.classification_result.CopyFrom(classify.result(signature, values, count))
        else:
            answer.regression_result.CopyFrom(regress.result(signature, values, count))
        response.results.append(answer)
    return response


def _signatures(servable: Servable, request: MultiInferenceRequest) -> list[SignatureDef]:
    """The signature of each task, all of one model and none twice."""
    if not request.tasks:
        raise invalid_argument("tasks is empty: a MultiInferenceRequest needs at least one task")
    found: dict[str, SignatureDef] = {}
    for task in request.tasks:
        _check(task, request.tasks[0].model_spec.name)
        key = signature_key(task.model_spec)
        if key in found:
            raise invalid_argument(texts.DUPLICATE_SIGNATURE.format(name=key))
        if key not in servable.signatures:
            raise invalid_argument(texts.SIGNATURE_NOT_IN_GRAPH.format(name=key))
        found[key] = servable.signatures[key]
    return list(found.values())


def _check(task: InferenceTask, model: str) -> None:
    if not task.model_spec.name:
        raise invalid_argument(texts.EMPTY_MODEL_NAME)
    if task.model_spec.name != model:
        raise invalid_argument(texts.DIFFERENT_MODEL_NAMES)
    if task.method_name not in ENDPOINTS:
        problem = texts.UNSUPPORTED_METHOD_NAME.format(name=task.method_name)
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, problem)
