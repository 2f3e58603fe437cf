"""What Predict asks of a request, with TF Serving's texts."""

import grpc
import numpy as np
import pytest

from support.fake_servable import FakeServable, signature
from support.serving_client import model_spec, outputs_of, predict_request
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.inference.predict import predict
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving.messages import PredictRequest, TensorProto, types_pb2
from wsgiapp.tfserving.tensors import encode_tensor

FLOATS = np.array([1.0, 2.0], np.float32)
OPTIONS = InferenceOptions()


@pytest.fixture
def servable() -> FakeServable:
    """`serving_default` of two inputs, and `biased`, one of whose inputs has a default."""
    inputs, outputs = {"a": "a:0 DT_FLOAT", "b": "b:0 DT_FLOAT"}, {"sum": "sum:0 DT_FLOAT", "a": "a:0 DT_FLOAT"}
    biased = signature("predict", inputs, outputs)
    biased.defaults["b"].CopyFrom(encode_tensor(np.array([10.0, 20.0], np.float32)))
    return FakeServable(
        {"sum:0": lambda feeds: feeds["a:0"] + feeds["b:0"], "a:0": lambda feeds: feeds["a:0"]},
        serving_default=signature("predict", inputs, outputs),
        biased=biased,
        odd=signature("other", inputs, outputs),
    )


def ask(servable: FakeServable, name: str, *outputs: str, **inputs: np.ndarray) -> dict[str, object]:
    return outputs_of(predict(servable, predict_request(model_spec("m", name), inputs, outputs), OPTIONS))


def error(servable: FakeServable, name: str, *outputs: str, **inputs: np.ndarray) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(ServingError) as caught:
        ask(servable, name, *outputs, **inputs)
    return caught.value.code, str(caught.value)


def test_outputs(servable: FakeServable) -> None:
    assert ask(servable, "", a=FLOATS, b=FLOATS) == {"sum": [2, 4], "a": [1, 2]}
    assert ask(servable, "", "sum", a=FLOATS, b=FLOATS) == {"sum": [2, 4]}
    assert servable.runs[-1][1] == ["sum:0"], "what is not asked for is not computed"
    assert ask(servable, "biased", "sum", a=FLOATS) == {"sum": [11, 22]}


def test_the_response_names_model_and_signature_but_no_label(servable: FakeServable) -> None:
    request = predict_request(model_spec("m", label="stable"), {"a": FLOATS, "b": FLOATS})
    assert predict(servable, request, OPTIONS).model_spec == model_spec("m", "serving_default")


def test_inputs_that_do_not_fit(servable: FakeServable) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert error(servable, "", a=FLOATS) == (
        invalid,
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.",
    )
    assert error(servable, "", a=FLOATS, b=FLOATS, c=FLOATS) == (
        invalid,
        "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). "
        "Sent extra: {c}. Missing but required: {}.",
    )
    assert error(servable, "", a=FLOATS, c=FLOATS) == (
        invalid,
        "Signature input alias: b(feed name: b:0) not found in request and no default value provided. "
        "Inputs expected to be in the request {a,c}, or default input alias set: ",
    )
    assert error(servable, "biased", a=FLOATS, c=FLOATS) == (
        invalid,
        "Inputs contains invalid name. Used request inputs: a, request input: a,c",
    )
    assert error(servable, "", a=FLOATS, b=FLOATS.astype(np.int64)) == (
        invalid,
        "Expects arg[1] to be float but int64 is provided (input b)",
    )


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (TensorProto(), "tensor parsing error: a: cannot read a tensor of type DT_INVALID"),
        (TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"), "tensor parsing error: a: a tensor of float32"),
        (TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1, 2]), "tensor parsing error: a: a tensor of shape []"),
        (TensorProto(dtype=types_pb2.DT_VARIANT), "tensor parsing error: a: cannot read a tensor of type DT_VARIANT"),
    ],
)
def test_a_tensor_that_cannot_be_read(servable: FakeServable, tensor: TensorProto, text: str) -> None:
    request = predict_request(model_spec("m"), {"b": FLOATS})
    request.inputs["a"].CopyFrom(tensor)
    with pytest.raises(ServingError) as caught:
        predict(servable, request, OPTIONS)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value).startswith(text)


def test_outputs_that_are_not_there(servable: FakeServable) -> None:
    assert error(servable, "", "sum", "z", a=FLOATS, b=FLOATS) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "output tensor alias not found in signature: z Outputs expected to be in the set {a,sum}.",
    )
    assert error(servable, "", "a", "a", a=FLOATS, b=FLOATS) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "duplicate output tensor alias: a",
    )


def test_method_names_count_with_the_flag_only(servable: FakeServable) -> None:
    request = predict_request(model_spec("m", "odd"), {"a": FLOATS, "b": FLOATS})
    assert outputs_of(predict(servable, request, OPTIONS))["sum"] == [2, 4]
    with pytest.raises(
        ServingError, match=r"one of \{tensorflow/serving/predict, .*\}\. Was: tensorflow/serving/other"
    ):
        predict(servable, request, InferenceOptions(check_method_names=True))


def test_an_empty_request_is_the_default_signature_s(servable: FakeServable) -> None:
    with pytest.raises(ServingError, match="input size does not match signature: 0!=2"):
        predict(servable, PredictRequest(), OPTIONS)
