"""PredictionService over gRPC, on models of many kinds."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np
import pytest

from support.fake_servable import FakeServable, signature
from support.processes import SHARED_DATA, poll
from support.serving_client import ServingClient, example, examples, failure, model_spec, outputs_of, predict_request
from wsgiapp.modelserver.rpc.admission import Admission
from wsgiapp.modelserver.rpc.prediction_service import PredictionService
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving.messages import (
    ClassificationRequest,
    GetModelMetadataRequest,
    ModelSpec,
    ModelVersionStatus,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
    SignatureDefMap,
    TensorProto,
    types_pb2,
)
from wsgiapp.tfserving.tensors import decode_tensor

ONE = np.array([[1.0]], np.float32)
NOT_SHARED = not (SHARED_DATA / "tfserving/half_plus_two").exists()


def test_predict_names_what_answered(serving: ServingClient) -> None:
    response = serving.predict(predict_request(model_spec("tiny"), {"x": ONE}))
    assert outputs_of(response) == {"y": [[3.5]]}
    assert response.model_spec == model_spec("tiny", "serving_default", 2)
    response = serving.predict(predict_request(model_spec("tiny", version=1), {"x": ONE}, ["y"], as_content=False))
    assert outputs_of(response) == {"y": [[2.5]]}
    assert response.model_spec == model_spec("tiny", "serving_default", 1)


def test_predict_answers_what_is_asked_for(serving: ServingClient) -> None:
    words = np.array([[b"a", "中文".encode()]], dtype=object)
    response = serving.predict(predict_request(model_spec("tiny", "echo"), {"words": words}))
    assert outputs_of(response) == {"words": words.tolist(), "length": [[1, 6]]}
    assert list(response.outputs["words"].string_val) == words.ravel().tolist()
    assert list(response.outputs["length"].int_val) == [1, 6]
    response = serving.predict(predict_request(model_spec("tiny", "echo"), {"words": words}, ["length"]))
    assert outputs_of(response) == {"length": [[1, 6]]}


def test_numbers_come_in_tensor_content_with_the_flag(flagged: ServingClient) -> None:
    response = flagged.predict(predict_request(model_spec("examples"), {"x": ONE}))
    assert response.outputs["y"].tensor_content == np.array([[2.5]], np.float32).tobytes()
    assert not response.outputs["y"].float_val


def test_bfloat16_in_both_encodings(serving: ServingClient) -> None:
    request = PredictRequest(model_spec=model_spec("kinds", "bfloat16"))
    for tensor in (
        TensorProto(dtype=types_pb2.DT_BFLOAT16, half_val=[0x3FC0]),  # 1.5
        TensorProto(dtype=types_pb2.DT_BFLOAT16, tensor_content=b"\xc0\x3f"),
    ):
        tensor.tensor_shape.dim.add(size=1)
        request.inputs["x"].CopyFrom(tensor)
        answer = serving.predict(request).outputs["y"]
        assert (answer.dtype, list(answer.half_val)) == (types_pb2.DT_BFLOAT16, [0x4040])  # 3.0


def test_quantized_types(serving: ServingClient) -> None:
    request = PredictRequest(model_spec=model_spec("kinds", "quantized"))
    request.inputs["x"].CopyFrom(TensorProto(dtype=types_pb2.DT_QUINT8, int_val=[0, 255]))
    request.inputs["x"].tensor_shape.dim.add(size=2)
    response = serving.predict(request)
    assert list(response.outputs["y"].float_val) == [0.0, 255.0]
    assert (response.outputs["q"].dtype, list(response.outputs["q"].int_val)) == (types_pb2.DT_QUINT8, [0, 255])


def test_an_input_with_a_default_may_be_left_out(serving: ServingClient) -> None:
    assert outputs_of(serving.predict(predict_request(model_spec("defaults"), {}))) == {"y": [[7.0]]}
    assert outputs_of(serving.predict(predict_request(model_spec("defaults"), {"x": ONE}))) == {"y": [[2.5]]}


def test_a_keras_export(serving: ServingClient) -> None:
    inputs = {"keras_tensor": np.ones((2, 3), np.float32)}
    signatures = SignatureDefMap()
    serving.metadata(model_spec("keras"), "signature_def").metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].inputs) == ["keras_tensor"]
    assert outputs_of(serving.predict(predict_request(model_spec("keras"), inputs))) == {"output_0": [[3, 3], [3, 3]]}


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict_request(model_spec(""), {}), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict_request(model_spec("no"), {}), "NOT_FOUND", "Servable not found for request: Latest(no)"),
        (
            predict_request(model_spec("tiny", version=7), {}),
            "NOT_FOUND",
            "Servable not found for request: Specific(tiny, 7)",
        ),
        (
            predict_request(model_spec("tiny", label="x"), {}),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: x",
        ),
        (predict_request(model_spec("tiny", "x"), {}), "FAILED_PRECONDITION", 'Serving signature key "x" not found.'),
        (
            predict_request(model_spec("bare"), {}),
            "FAILED_PRECONDITION",
            'Serving signature key "serving_default" not found.',
        ),
        (predict_request(model_spec("keras"), {"keras_tensor": ONE}), "INVALID_ARGUMENT", "Matrix size-incompatible"),
        (
            predict_request(model_spec("kinds", "rows"), {"x": -ONE}),
            "INVALID_ARGUMENT",
            "x is negative",
        ),
        (
            predict_request(model_spec("kinds", "float8"), {"x": np.array(0.5, np.float32)}),
            "UNIMPLEMENTED",
            "output y cannot be answered",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_predict_rejects(serving: ServingClient, request_: PredictRequest, code: str, text: str) -> None:
    found_code, found_text = failure(serving.predict, request_)
    assert (found_code, found_text[: len(text)]) == (code, text) or (text in found_text and code == found_code)
    assert "Traceback" not in found_text and 'File "' not in found_text


def test_the_start_up_operation_of_a_model_is_no_signature_to_call(serving: ServingClient) -> None:
    code, _ = failure(serving.predict, predict_request(model_spec("tiny", "__saved_model_init_op"), {}))
    assert code in ("INVALID_ARGUMENT", "OUT_OF_RANGE")


def test_a_model_without_the_tag_serve_says_so(serving: ServingClient) -> None:
    def failed() -> ModelVersionStatus | None:
        (status,) = serving.status(model_spec("train")).model_version_status
        return status if status.state == ModelVersionStatus.END else None

    status = poll(failed, 60, "a load that failed")
    assert "no meta graph with the tags of --saved_model_tags" in status.status.error_message


def test_classify(serving: ServingClient) -> None:
    both = examples(example(x=2.0), example(x=-4.0))
    response = serving.classify(model_spec("examples", "classify_x_to_y"), both)
    assert response.model_spec == model_spec("examples", "classify_x_to_y", 1)
    found = [[(each.label, each.score) for each in row.classes] for row in response.result.classifications]
    assert found == [[("", 3.0)], [("", 0.0)]]
    response = serving.classify(model_spec("examples", "classify_labels"), both)
    found = [[(each.label, each.score) for each in row.classes] for row in response.result.classifications]
    assert found == [[("negative", -2.0), ("positive", 2.0)], [("negative", 4.0), ("positive", -4.0)]]
    response = serving.classify(model_spec("examples", "classify_classes"), both)
    found = [[(each.label, each.score) for each in row.classes] for row in response.result.classifications]
    assert found == [[("negative", 0.0), ("positive", 0.0)]] * 2


def test_regress_and_context(serving: ServingClient) -> None:
    spec = model_spec("examples", "regress_x_to_y")
    response = serving.regress(spec, examples(example(x=2.0), example(x=4.0)))
    assert [each.value for each in response.result.regressions] == [3.0, 4.0]
    assert response.model_spec == model_spec("examples", "regress_x_to_y", 1)
    with_context = examples(example(), example(x=4.0), context=example(x=2.0, x2=9.0))
    assert [each.value for each in serving.regress(spec, with_context).result.regressions] == [3.0, 4.0]
    response = serving.regress(model_spec("examples", "regress_context"), with_context)
    assert [each.value for each in response.result.regressions] == [9.0, 9.0]


def test_multi_inference(serving: ServingClient) -> None:
    response = serving.multi_inference(
        [
            (model_spec("examples", "regress_x_to_y2"), "regress"),
            (model_spec("examples", "classify_labels"), "classify"),
            (model_spec("examples", "regress_x_to_y"), "regress"),
        ],
        examples(example(x=2.0)),
    )
    regressed, classified, other = response.results
    assert regressed.regression_result.regressions[0].value == 4.0
    assert [each.label for each in classified.classification_result.classifications[0].classes] == [
        "negative",
        "positive",
    ]
    assert other.regression_result.regressions[0].value == 3.0
    assert [result.model_spec.signature_name for result in response.results] == [
        "regress_x_to_y2",
        "classify_labels",
        "regress_x_to_y",
    ]
    assert {result.model_spec.version.value for result in response.results} == {1}


def test_multi_inference_of_signatures_with_inputs_of_their_own(serving: ServingClient) -> None:
    response = serving.multi_inference(
        [(model_spec("kinds", "halved"), "regress"), (model_spec("kinds", "scored"), "classify")],
        examples(example(x=2.0), example(x=4.0)),
    )
    regressed, classified = response.results
    assert [each.value for each in regressed.regression_result.regressions] == [1.0, 2.0]
    assert [row.classes[0].score for row in classified.classification_result.classifications] == [4.0, 6.0]


def test_what_needs_a_model_spec(serving: ServingClient) -> None:
    calls = (
        (serving.predictions.Classify, ClassificationRequest(), "Missing ModelSpec"),
        (serving.predictions.Regress, RegressionRequest(), "Missing ModelSpec"),
        (serving.predictions.GetModelMetadata, GetModelMetadataRequest(), "Missing ModelSpec"),
        (serving.predictions.MultiInference, MultiInferenceRequest(), "ModelSpec has no name specified."),
    )
    for call, request, text in calls:
        assert failure(call, request) == ("INVALID_ARGUMENT", text)


def test_bad_examples_are_the_client_s_mistake(serving: ServingClient) -> None:
    spec = model_spec("examples", "regress_x_to_y")
    code, text = failure(serving.regress, spec, examples(example(other=1.0)))
    assert code == "INVALID_ARGUMENT"
    assert "Feature: x" in text
    code, text = failure(serving.regress, spec, examples(example(x=b"bytes")))
    assert code == "INVALID_ARGUMENT"


def test_method_names_are_checked_with_the_flag(serving: ServingClient, flagged: ServingClient) -> None:
    one = examples(example(x=2.0))
    spec = model_spec("examples", "classify_x_to_y")
    assert failure(flagged.regress, spec, one) == (
        "INVALID_ARGUMENT",
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/classify",
    )
    code, text = failure(serving.regress, spec, one)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("No regression outputs found in SignatureDef: inputs {")


def test_concurrent_requests_share_a_run(flagged: ServingClient) -> None:
    requests = [
        predict_request(model_spec("kinds", "rows"), {"x": np.full((1, width), value, np.float32)})
        for width, value in ((1, 1.0), (3, 2.0), (2, 3.0))
    ]

    def shared() -> bool:
        """Whether the three met; on a busy machine one may come too late."""
        calls = [flagged.predictions.Predict.future(request, timeout=60) for request in requests]
        answers = [outputs_of(call.result()) for call in calls]
        return answers == [{"rows": [4], "sum": [value]} for value in (3.0, 6.0, 9.0)]

    # Three rows, padded to an allowed size; each as wide as the widest, by its own first value.
    poll(shared, 30, "three requests in one run of four rows")


def test_a_bad_request_does_not_fail_those_that_share_its_run(flagged: ServingClient) -> None:
    requests = [
        predict_request(model_spec("kinds", "rows"), {"x": np.full((1, 2), value, np.float32)})
        for value in (1.0, -1.0, 2.0)
    ]
    calls = [flagged.predictions.Predict.future(request, timeout=60) for request in requests]
    code, text = failure(calls[1].result)
    assert code == "INVALID_ARGUMENT"
    assert "x is negative" in text
    assert [outputs_of(call.result())["sum"] for call in (calls[0], calls[2])] == [[2.0], [4.0]]


def test_limits_of_batching(flagged: ServingClient) -> None:
    assert failure(
        flagged.predict, predict_request(model_spec("kinds", "rows"), {"x": np.ones((9, 1), np.float32)})
    ) == (
        "INVALID_ARGUMENT",
        "Task size 9 is larger than maximum input batch size 8",
    )
    code, text = failure(flagged.predict, predict_request(model_spec("kinds", "total"), {"x": np.ones(3, np.float32)}))
    assert (code, text) == ("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
    none = predict_request(model_spec("kinds", "rows"), {"x": np.ones((0, 1), np.float32)})
    assert outputs_of(flagged.predict(none)) == {"rows": [], "sum": []}
    response = flagged.regress(model_spec("examples", "regress_x_to_y"), examples(*[example(x=2.0)] * 5))
    assert [each.value for each in response.result.regressions] == [3.0] * 5


class Context:
    """The part of a gRPC context that the services use."""

    def __init__(self, *, active: bool = True) -> None:
        self.active = active

    def is_active(self) -> bool:
        return self.active

    def abort(self, code: grpc.StatusCode, text: str) -> None:
        raise Aborted(code, text)


class Aborted(Exception):
    pass


class OneServable:
    """Leases the same servable to every call."""

    def __init__(self, servable: FakeServable) -> None:
        self.servable = servable

    @contextmanager
    def lease(self, _: ModelSpec) -> Iterator[tuple[int, FakeServable]]:
        yield 7, self.servable


def test_an_unexpected_error_is_logged_and_answered_in_plain_words(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> np.ndarray:
        raise KeyError("secret")

    servable = FakeServable({"y:0": broken}, serving_default=signature("predict", {}, {"y": "y:0"}))
    service = PredictionService(OneServable(servable), InferenceOptions(), Admission())
    with pytest.raises(Aborted) as caught:
        service.Predict(predict_request(model_spec("m"), {}), Context())
    assert caught.value.args == (grpc.StatusCode.INTERNAL, "the model server failed (KeyError); its log says why")
    assert "secret" in caplog.text
    assert "Traceback" in caplog.text


def test_nothing_is_run_for_a_call_that_has_ended() -> None:
    servable = FakeServable({}, serving_default=signature("predict", {}, {"y": "y:0"}))
    service = PredictionService(OneServable(servable), InferenceOptions(), Admission())
    with pytest.raises(Aborted) as caught:
        service.Predict(predict_request(model_spec("m"), {}), Context(active=False))
    assert caught.value.args[0] is grpc.StatusCode.CANCELLED
    assert not servable.runs


@pytest.mark.skipif(NOT_SHARED, reason="TF Serving's half_plus_two is not here")
def test_half_plus_two(serving: ServingClient, flagged: ServingClient) -> None:
    """What TF Serving's own integration test sends."""
    request = PredictRequest(model_spec=model_spec("half_plus_two"), output_filter=["y"])
    request.inputs["x"].dtype = types_pb2.DT_FLOAT
    request.inputs["x"].float_val.append(2.0)
    request.inputs["x"].tensor_shape.dim.add(size=1)
    response = serving.predict(request)
    assert list(response.outputs["y"].float_val) == [3.0]
    assert response.model_spec == model_spec("half_plus_two", "serving_default", 124)
    assert outputs_of(flagged.predict(request)) == {"y": [3.0]}

    one = examples(example(x=2.0))
    to_classify, to_regress = (model_spec("half_plus_two", f"{method}_x_to_y") for method in ("classify", "regress"))
    classified = serving.classify(to_classify, one)
    assert [each.score for each in classified.result.classifications[0].classes] == [3.0]
    assert serving.regress(to_regress, one).result.regressions[0].value == 3.0
    multiple = serving.multi_inference([(to_regress, "regress"), (to_classify, "classify")], one)
    assert multiple.results[0].regression_result.regressions[0].value == 3.0
    assert multiple.results[1].classification_result.classifications[0].classes[0].score == 3.0

    for call, name in ((serving.classify, "classify_x2_to_y3"), (serving.regress, "regress_x2_to_y3")):
        code, text = failure(call, model_spec("half_plus_two", name), one)
        assert code == "INVALID_ARGUMENT"
        assert text.startswith("Expects arg[0] to be float but string is provided")
    signatures = SignatureDefMap()
    metadata = serving.metadata(model_spec("half_plus_two", version=123), "signature_def")
    metadata.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {
        "serving_default",
        "classify_x_to_y",
        "classify_x2_to_y3",
        "regress_x_to_y",
        "regress_x_to_y2",
        "regress_x2_to_y3",
    }
    assert metadata.model_spec.version.value == 123
    assert decode_tensor(response.outputs["y"]).tolist() == [3.0]
