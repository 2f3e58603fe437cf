"""TensorFlow Lite models, where they are preferred."""

import numpy as np
import pytest

from support.serving_client import ServingClient, failure, model_spec, outputs_of, predict_request
from wsgiapp.tfserving.messages import SignatureDefMap, types_pb2


def rows(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def test_a_model_beside_the_saved_model_takes_its_place(serving: ServingClient, flagged: ServingClient) -> None:
    request = predict_request(model_spec("lite"), {"x": rows(1)}, ["y"])
    assert outputs_of(serving.predict(request)) == {"y": [[1, 2]]}
    response = flagged.predict(request)
    assert outputs_of(response) == {"y": [[2, 3]]}
    assert response.model_spec == model_spec("lite", "serving_default", 1)


def test_inputs_are_resized_up_and_down(flagged: ServingClient) -> None:
    for count in (1, 3, 2):
        response = flagged.predict(predict_request(model_spec("lite"), {"x": rows(count)}))
        assert outputs_of(response) == {"y": (rows(count) + 2).tolist(), "sum": rows(count).sum(axis=1).tolist()}


def test_strings(flagged: ServingClient) -> None:
    words = np.array([b"a", "中文".encode(), b""], dtype=object)
    response = flagged.predict(predict_request(model_spec("lite", "echo"), {"words": words}))
    assert outputs_of(response) == {"words": words.tolist()}
    assert list(response.outputs["words"].string_val) == words.tolist()


def test_a_model_without_signatures_has_its_tensors(flagged: ServingClient) -> None:
    signatures = SignatureDefMap()
    flagged.metadata(model_spec("plain"), "signature_def").metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def) == ["serving_default"]
    signature = signatures.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert list(signature.inputs) == ["x"]
    assert all(alias == info.name for ends in (signature.inputs, signature.outputs) for alias, info in ends.items())
    info = signature.inputs["x"]
    assert info.dtype == types_pb2.DT_FLOAT
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, 2]
    found = outputs_of(flagged.predict(predict_request(model_spec("plain"), {"x": rows(3)})))
    assert sorted(found.values(), key=str) == sorted(((rows(3) + 2).tolist(), [1, 5, 9]), key=str)


@pytest.mark.parametrize("model", ["lite", "plain"])
@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((1, 3), "input x has rows of the shape [3]; the model takes [2]"),
        ((2,), "input x has 1 dimensions; the model takes 2"),
        ((1, 1, 2), "input x has 3 dimensions; the model takes 2"),
    ],
)
def test_a_shape_that_the_model_does_not_take(
    flagged: ServingClient, model: str, shape: tuple[int, ...], text: str
) -> None:
    request = predict_request(model_spec(model), {"x": np.ones(shape, np.float32)})
    assert failure(flagged.predict, request) == ("INVALID_ARGUMENT", text)
    assert outputs_of(flagged.predict(predict_request(model_spec(model), {"x": rows(1)})))


def test_a_wrong_type_is_named(flagged: ServingClient) -> None:
    code, text = failure(flagged.predict, predict_request(model_spec("lite"), {"x": rows(1).astype(np.int32)}))
    assert (code, text) == ("INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided (input x)")


def test_many_calls_at_once(flagged: ServingClient) -> None:
    requests = [predict_request(model_spec("lite"), {"x": rows(1) + number}, ["y"]) for number in range(40)]
    calls = [flagged.predictions.Predict.future(request, timeout=60) for request in requests]
    for number, call in enumerate(calls):
        assert outputs_of(call.result()) == {"y": (rows(1) + number + 2).tolist()}
