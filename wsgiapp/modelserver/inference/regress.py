"""Regress: one value for each `tf.Example` (TF Serving's `regressor.cc`)."""

from wsgiapp.modelserver.errors import invalid_argument
from wsgiapp.modelserver.inference.examples import run_on_examples
from wsgiapp.modelserver.servables import signatures
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable, answered_spec, signature_key
from wsgiapp.modelserver.servables.tensors import array_type, shape_text
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import (
    Regression,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
    SignatureDef,
    TensorInfo,
)
from wsgiapp.tfserving.tensors import Arrays

INPUTS, OUTPUTS = "inputs", "outputs"


def regress(servable: Servable, request: RegressionRequest, options: InferenceOptions) -> RegressionResponse:
    """The value of each example; the caller adds the version. Raises `ServingError`."""
    signature = signatures.find_signature(servable, signature_key(request.model_spec))
    feed, fetches = endpoints(signature, options)
    values, count = run_on_examples(servable, [feed], request.input, fetches)
    return RegressionResponse(model_spec=answered_spec(request.model_spec), result=result(signature, values, count))


def endpoints(signature: SignatureDef, options: InferenceOptions) -> tuple[TensorInfo, list[str]]:
    """The tensor that takes the examples, and the one that is answered. Raises `ServingError`."""
    if options.check_method_names:
        signatures.check_method_name(signature, "regression", signatures.REGRESS)
    if len(signature.inputs) != 1:
        raise invalid_argument(texts.NOT_ONE_INPUT)
    if len(signature.outputs) != 1:
        raise invalid_argument(texts.NOT_ONE_OUTPUT)
    if INPUTS not in signature.inputs:
        raise invalid_argument(texts.NO_REGRESSION_INPUTS.format(signature=signatures.signature_text(signature)))
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(texts.NO_REGRESSION_OUTPUTS.format(signature=signatures.signature_text(signature)))
    return signature.inputs[INPUTS], [signature.outputs[OUTPUTS].name]


def result(signature: SignatureDef, values: Arrays, count: int) -> RegressionResult:
    """The answer from the fetched tensor, of shape [examples] or [examples, 1]. Raises `ServingError`."""
    array = values[signature.outputs[OUTPUTS].name]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid_argument(texts.WRONG_REGRESSION_SHAPE.format(shape=shape_text(array)))
    if len(array) != count:
        raise invalid_argument(texts.WRONG_REGRESSION_BATCH.format(examples=count, found=len(array)))
    if array_type(array) != "DT_FLOAT":
        raise invalid_argument(texts.WRONG_REGRESSION_TYPE.format(found=array_type(array)))
    return RegressionResult(regressions=[Regression(value=value) for value in array.ravel().tolist()])
