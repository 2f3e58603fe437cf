"""Several signatures on the same examples."""

import grpc
import numpy as np
import pytest

from support.fake_servable import FakeServable, signature
from support.serving_client import example, examples, model_spec
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.inference.multi_inference import multi_inference
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving.messages import MultiInferenceRequest, MultiInferenceResponse

INPUTS = {"inputs": "in:0"}


@pytest.fixture
def servable() -> FakeServable:
    return FakeServable(
        {"y:0": lambda feeds: np.ones((len(feeds["in:0"]), 1), np.float32)},
        serving_default=signature("regress", INPUTS, {"outputs": "y:0"}),
        classified=signature("classify", INPUTS, {"scores": "y:0"}),
        elsewhere=signature("regress", {"inputs": "other:0"}, {"outputs": "y:0"}),
        numbers=signature("regress", {"inputs": "last:0 DT_FLOAT"}, {"outputs": "y:0"}),
    )


def ask(servable: FakeServable, *tasks: tuple[str, str, str]) -> MultiInferenceResponse:
    request = MultiInferenceRequest(input=examples(example(x=1.0), example(x=2.0)))
    for model, name, method in tasks:
        request.tasks.add(model_spec=model_spec(model, name), method_name=f"tensorflow/serving/{method}")
    return multi_inference(servable, request, InferenceOptions())


def test_tasks_share_one_run_and_keep_their_order(servable: FakeServable) -> None:
    response = ask(servable, ("m", "classified", "classify"), ("m", "", "regress"))
    classified, regressed = response.results
    assert [row.classes[0].score for row in classified.classification_result.classifications] == [1, 1]
    assert [each.value for each in regressed.regression_result.regressions] == [1, 1]
    assert [result.model_spec.signature_name for result in response.results] == ["classified", "serving_default"]
    assert len(servable.runs) == 1
    assert servable.runs[0][1] == ["y:0"]


def test_each_input_gets_the_same_examples(servable: FakeServable) -> None:
    """TensorFlow 2 exports every signature with an input of its own."""
    response = ask(servable, ("m", "", "regress"), ("m", "elsewhere", "regress"))
    assert [len(result.regression_result.regressions) for result in response.results] == [2, 2]
    ((feeds, fetches),) = servable.runs
    assert (sorted(feeds), fetches) == (["in:0", "other:0"], ["y:0"])
    assert feeds["in:0"].tolist() == feeds["other:0"].tolist()
    assert len(feeds["in:0"]) == 2


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ([], "INVALID_ARGUMENT", "tasks is empty: a MultiInferenceRequest needs at least one task"),
        ([("", "", "regress")], "INVALID_ARGUMENT", "Found ModelSpec with an empty model name."),
        (
            [("m", "", "regress"), ("n", "classified", "classify")],
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            [("m", "", "regress"), ("m", "serving_default", "regress")],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: serving_default",
        ),
        ([("m", "x", "regress")], "INVALID_ARGUMENT", "Requested signature not found in model graph: x"),
        (
            [("m", "", "predict")],
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            [("m", "numbers", "regress"), ("m", "elsewhere", "regress")],
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but string is provided (the input last:0 takes no serialized tf.Example; call "
            "Predict instead)",
        ),
    ],
)
def test_what_does_not_fit(servable: FakeServable, tasks: list[tuple[str, str, str]], code: str, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        ask(servable, *tasks)
    assert (caught.value.code, str(caught.value)) == (grpc.StatusCode[code], text)
