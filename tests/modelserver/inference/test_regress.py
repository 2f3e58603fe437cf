"""What Regress asks of a signature and of its tensor, with TF Serving's texts."""

import grpc
import numpy as np
import pytest

from support.fake_servable import FakeServable, signature
from support.serving_client import example, examples, model_spec
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.inference.regress import regress
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving.messages import RegressionRequest

VALUES = np.array([1.5, 2.5], np.float32)
INPUTS, OUTPUTS = {"inputs": "in:0"}, {"outputs": "out:0"}


def ask(
    values: np.ndarray = VALUES,
    inputs: dict[str, str] = INPUTS,
    outputs: dict[str, str] = OUTPUTS,
    *,
    checked: bool = False,
) -> list[float]:
    """Regress two examples with a signature for Predict that answers `values`."""
    servable = FakeServable({"out:0": lambda _: values}, r=signature("predict", inputs, outputs))
    request = RegressionRequest(model_spec=model_spec("m", "r"), input=examples(example(x=1.0), example(x=2.0)))
    response = regress(servable, request, InferenceOptions(check_method_names=checked))
    assert response.model_spec == model_spec("m", "r")
    return [each.value for each in response.result.regressions]


def test_values() -> None:
    assert ask() == [1.5, 2.5]
    assert ask(VALUES.reshape(2, 1)) == [1.5, 2.5]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"checked": True}, "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorf"),
        ({"inputs": {"inputs": "a:0", "b": "b:0"}}, "Expected one input Tensor."),
        ({"outputs": {"outputs": "a:0", "b": "b:0"}}, "Expected one output Tensor."),
        ({"inputs": {"x": "x:0"}}, "No regression inputs found in SignatureDef: inputs {"),
        ({"outputs": {"y": "y:0"}}, "No regression outputs found in SignatureDef: inputs {"),
        (
            {"values": VALUES.reshape(1, 2)},
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]",
        ),
        ({"values": VALUES[:1]}, "Input batch size did not match output batch size: 2 vs. 1"),
        ({"values": VALUES.astype(np.int32)}, "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
    ],
)
def test_what_does_not_fit(arguments: dict, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        ask(**arguments)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value).startswith(text)
