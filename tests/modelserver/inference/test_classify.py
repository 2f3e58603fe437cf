"""What Classify asks of a signature and of its tensors, with TF Serving's texts."""

import grpc
import numpy as np
import pytest

from support.fake_servable import FakeServable, signature
from support.serving_client import example, examples, model_spec
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.inference.classify import classify
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving.messages import ClassificationRequest

INPUTS = {"inputs": "in:0"}
LABELS = np.array([[b"a", b"b"], [b"c", b"\xff"]], dtype=object)
SCORES = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


def ask(
    outputs: dict[str, np.ndarray], inputs: dict[str, str] = INPUTS, method: str = "classify", *, checked: bool = False
) -> list[list[tuple[str, float]]]:
    """Classify two examples with a signature that answers `outputs`."""
    servable = FakeServable(
        {f"{alias}:0": lambda _, array=array: array for alias, array in outputs.items()},
        c=signature(method, inputs, {alias: f"{alias}:0" for alias in outputs}),
    )
    request = ClassificationRequest(model_spec=model_spec("m", "c"), input=examples(example(x=1.0), example(x=2.0)))
    response = classify(servable, request, InferenceOptions(check_method_names=checked))
    assert response.model_spec == model_spec("m", "c")
    return [[(each.label, each.score) for each in row.classes] for row in response.result.classifications]


def test_classes_scores_or_both() -> None:
    assert ask({"classes": LABELS, "scores": SCORES}) == [[("a", 1), ("b", 2)], [("c", 3), ("\ufffd", 4)]]
    assert ask({"classes": LABELS}) == [[("a", 0), ("b", 0)], [("c", 0), ("\ufffd", 0)]]
    assert ask({"scores": SCORES}) == [[("", 1), ("", 2)], [("", 3), ("", 4)]]
    assert ask({"scores": SCORES[:, :0]}) == [[], []]
    assert ask({"scores": SCORES}, method="predict") == ask({"scores": SCORES}, checked=True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"outputs": {"scores": SCORES}, "method": "predict", "checked": True},
            "Expected classification signature method_name to be tensorflow/serving/classify. "
            "Was: tensorflow/serving/predict",
        ),
        ({"outputs": {"scores": SCORES}, "inputs": {"inputs": "a:0", "b": "b:0"}}, "Expected one input Tensor."),
        (
            {"outputs": {"scores": SCORES, "classes": LABELS, "c": SCORES}},
            "Expected one or two output Tensors, found 3",
        ),
        ({"outputs": {"scores": SCORES}, "inputs": {"x": "x:0"}}, "No classification inputs found in SignatureDef: "),
        (
            {"outputs": {"y": SCORES}},
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was',
        ),
        ({"outputs": {"scores": SCORES[0]}}, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ({"outputs": {"classes": SCORES}}, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"outputs": {"scores": LABELS}}, "Expected scores Tensor of DT_FLOAT. Got: DT_STRING"),
        ({"outputs": {"scores": SCORES[:1]}}, "Expected scores output batch size of 2. Got: 1"),
        (
            {"outputs": {"scores": SCORES[:, :1], "classes": LABELS}},
            "Tensors class and score should match in dim_size(1). Got 2 vs. 1",
        ),
        (
            {"outputs": {"scores": SCORES}, "inputs": {"inputs": "x:0 DT_FLOAT"}},
            "Expects arg[0] to be float but string is provided",
        ),
    ],
)
def test_what_does_not_fit(arguments: dict, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        ask(**arguments)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value).startswith(text)


def test_an_unknown_signature() -> None:
    with pytest.raises(ServingError, match=r"^No signature was found with the name: serving_default$"):
        classify(FakeServable({}), ClassificationRequest(), InferenceOptions())
