"""TensorFlow Lite models, where they are preferred."""

from pathlib import Path

import numpy as np

from support.serving_client import ServingClient, failure, model_spec, outputs_of, predict_request
from support.tensorflow_child import lite_outcomes
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


def test_inputs_of_other_sizes_than_the_model_s_are_resized(flagged: ServingClient) -> None:
    for shape, total in (((1, 3), [3.0]), ((1, 1, 2), [[1.0, 1.0]])):
        ones = np.ones(shape, np.float32)
        response = flagged.predict(predict_request(model_spec("lite"), {"x": ones}))
        assert outputs_of(response) == {"y": (ones + 2).tolist(), "sum": total}
    code, text = failure(flagged.predict, predict_request(model_spec("lite"), {"x": np.ones(2, np.float32)}))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("the model cannot run on inputs of x [")
    assert outputs_of(flagged.predict(predict_request(model_spec("lite"), {"x": rows(1)}, ["y"]))) == {"y": [[2, 3]]}


def test_unusual_models_and_sizes(serving_models: Path) -> None:
    """Right values, or an error of the client's: never the end of the process, nor what lies behind a tensor."""
    ones = np.ones((2, 8, 8, 3)).tolist()
    calls: list[tuple[str, str, str, object, str, object]] = [  # the last two: the status code and the answer
        ("stored", "numbers", "float32", [[1, 2]], "OK", [[3, 4]]),
        ("stored", "numbers", "float32", [[1, 2, 3], [4, 5, 6]], "OK", [[3, 4, 5], [6, 7, 8]]),
        ("stored", "numbers", "float32", 1, "OK", 3),
        ("bfloat16", "x", "bfloat16", [[1.5, 2]], "OK", [[1.5], [2]]),
        ("conv", "x", "float32", [[row[:4] for row in ones[0][:3]]], "OK", [[[[27], [27]]]]),
        ("conv", "x", "float32", ones, "OK", np.full((2, 6, 6, 1), 27.0).tolist()),
        ("conv", "x", "float32", [ones[0][:2]], "INVALID_ARGUMENT", "inputs of x [1,2,8,3]: an operation"),
        ("conv", "x", "float32", [ones[0][:2]], "INVALID_ARGUMENT", "inputs of x [1,2,8,3]: an operation"),
        ("conv", "x", "float32", ones[0], "INVALID_ARGUMENT", "(3 != 4)"),
        ("conv", "x", "float32", [ones[0][:3]], "OK", [[[[27]] * 6]]),
        ("sequence", "x", "float32", [[[1], [2], [3], [4]]], "OK", [[[6], [9]]]),
        ("sequence", "x", "float32", [[[1], [2], [3], [4]]], "OK", [[[6], [9]]]),
        ("sequence", "x", "float32", [[[1]]], "INVALID_ARGUMENT", "inputs of x [1,1,1]: "),
        ("sequence", "x", "float32", [[]], "INVALID_ARGUMENT", "inputs of x [1,0]: "),
        ("scalar", "x", "string", "中文", "OK", "中文"),
        ("scalar", "x", "string", "", "OK", ""),
    ]
    outcomes = lite_outcomes(*((serving_models / folder / "1", *call) for folder, *call, _, _ in calls))
    for (*call, code, answer), (found_code, found) in zip(calls, outcomes, strict=True):
        assert found_code == code, f"{call}: {found}"
        assert found == answer or (code != "OK" and str(answer) in str(found)), f"{call}: {found}"


def test_a_wrong_type_is_named(flagged: ServingClient) -> None:
    code, text = failure(flagged.predict, predict_request(model_spec("lite"), {"x": rows(1).astype(np.int32)}))
    assert (code, text) == ("INVALID_ARGUMENT", "Expects arg[0] to be float but int32 is provided (input x)")


def test_many_calls_at_once(flagged: ServingClient) -> None:
    requests = [predict_request(model_spec("lite"), {"x": rows(1) + number}, ["y"]) for number in range(40)]
    calls = [flagged.predictions.Predict.future(request, timeout=60) for request in requests]
    for number, call in enumerate(calls):
        assert outputs_of(call.result()) == {"y": (rows(1) + number + 2).tolist()}
