"""Regress: one value for each `tf.Example` (TF Serving's `regressor.cc`)."""

from collections.abc import Mapping

import numpy as np

from wsgiapp.modelserver.errors import invalid_argument
from wsgiapp.modelserver.inference.examples import run_on_examples
from wsgiapp.modelserver.servables import signatures
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable, answered_spec, signature_key
from wsgiapp.modelserver.servables.tensors import array_type, shape_text
from wsgiapp.tfserving.messages import (
    Regression,
    RegressionRequest,
    RegressionResponse,
    RegressionResult,
    SignatureDef,
    TensorInfo,
)

INPUTS, OUTPUTS = "inputs", "outputs"


def regress(servable: Servable, request: RegressionRequest, options: InferenceOptions) -> RegressionResponse:
    """The value of each example; the caller adds the version. Raises `ServingError`."""
    signature = signatures.find_signature(servable, signature_key(request.model_spec))
    feed, fetches = endpoints(signature, options)
    values, count = run_on_examples(servable, feed, request.input, fetches)
    return RegressionResponse(model_spec=answered_spec(request.model_spec), result=result(signature, values, count))


def endpoints(signature: SignatureDef, options: InferenceOptions) -> tuple[TensorInfo, list[str]]:
    """The tensor that takes the examples, and the one that is answered. Raises `ServingError`."""
    if options.check_method_names:
        signatures.check_method_name(signature, "regression", signatures.REGRESS)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {signatures.signature_text(signature)}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signatures.signature_text(signature)}")
    return signature.inputs[INPUTS], [signature.outputs[OUTPUTS].name]


def result(signature: SignatureDef, values: Mapping[str, np.ndarray], count: int) -> RegressionResult:
    """The answer from the fetched tensor, of shape [examples] or [examples, 1]. Raises `ServingError`."""
    array = values[signature.outputs[OUTPUTS].name]
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + shape_text(array)
        )
    if len(array) != count:
        raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array_type(array) != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {array_type(array)}")
    return RegressionResult(regressions=[Regression(value=value) for value in array.ravel().tolist()])
