"""A picture in every form that clients send it, and the map in every form they ask for."""

import base64
import io
import pickle
from typing import Any

import cv2
import numpy as np
import pytest

from support.images import huge_png, image_file, photograph
from wsgiapp.errors import InternalError, InvalidField, SettingsError, TooLarge
from wsgiapp.pipelines.pipeline import ImageLimits, Media, Payload, Resources
from wsgiapp.pipelines.saliency import Saliency

BGR = photograph(90, 70)
FILE = image_file(BGR)
ENCODED = base64.b64encode(FILE).decode()
MEAN = np.array([126.88, 120.24, 112.19], np.float32)


@pytest.fixture(scope="module")
def pipeline() -> Saliency:
    made = Saliency({}, Resources())
    made.warm_up()
    return made


def test_preprocessing(pipeline: Saliency) -> None:
    image = pipeline.preprocess(Payload(files={"img": FILE})).inputs["img_in"]
    assert (image.shape, image.dtype) == ((1, 320, 320, 3), np.float32)
    nearest = cv2.resize(BGR[..., ::-1], (320, 320), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_allclose(image[0], nearest.astype(np.float32) - MEAN, atol=1e-4)


@pytest.mark.parametrize(
    "payload",
    [
        Payload(files={"": FILE}),
        Payload({"img": ENCODED}),
        Payload({"img": ENCODED.replace("+", " ")}, in_url=True),
        Payload({"img": base64.urlsafe_b64encode(FILE).decode().rstrip("=")}, in_url=True),
        Payload({"img": f"data:image/png;base64,{ENCODED}"}),
        Payload({"img": f" DATA:image/png;BASE64,{ENCODED}"}),
    ],
)
def test_every_form_gives_the_same_input(pipeline: Saliency, payload: Payload) -> None:
    expected = pipeline.preprocess(Payload(files={"img": FILE})).inputs["img_in"]
    np.testing.assert_array_equal(pipeline.preprocess(payload).inputs["img_in"], expected)


def map_of(pipeline: Saliency, saliency: np.ndarray, **fields: Any) -> Any:
    context = pipeline.preprocess(Payload({"img": ENCODED, **fields})).context
    return pipeline.postprocess({"img_out": saliency}, context)


def test_encodings_carry_the_same_map(pipeline: Saliency) -> None:
    saliency = np.random.default_rng(1).random((1, 320, 320, 1), np.float32)
    png, npy, pickled = (map_of(pipeline, saliency, encoding=name) for name in ("png", "npy", "pickle"))
    first = np.load(io.BytesIO(base64.b64decode(npy["img_out"])))
    assert first.shape == (70, 90)
    assert png["shape"] == npy["shape"] == [70, 90]
    assert (png["encoding"], pickled["encoding"]) == ("png", "pickle")
    np.testing.assert_array_equal(pickle.loads(base64.b64decode(pickled["img_out"])), first)
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(png["img_out"]), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, first)


def test_the_map_follows_the_model_s_output(pipeline: Saliency) -> None:
    saliency = np.full((1, 320, 320, 1), 0.4, np.float32)
    saliency[:, :, 160:] = 0.6
    answer = map_of(pipeline, saliency, encoding="npy")
    mask = np.load(io.BytesIO(base64.b64decode(answer["img_out"])))
    assert (mask[:, :44] == 0).all() and (mask[:, 46:] == 255).all()
    constant = map_of(pipeline, np.full((1, 320, 320, 1), 0.4, np.float32), encoding="npy")
    assert (np.load(io.BytesIO(base64.b64decode(constant["img_out"]))) == 0).all()


def test_a_bare_picture(pipeline: Saliency) -> None:
    context = pipeline.preprocess(Payload(files={"img": FILE}, as_picture=True)).context
    answer = pipeline.postprocess({"img_out": np.random.default_rng(1).random((1, 320, 320, 1))}, context)
    assert isinstance(answer, Media)
    assert answer.mimetype == "image/png"
    assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED).shape == (70, 90)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (Payload(), "img: missing"),
        (Payload({"img": 3}), "img: not a text"),
        (Payload({"img": ""}), "img: empty"),
        (Payload({"img": "?"}), "img: not base64"),
        (Payload({"img": base64.b64encode(b"hello").decode()}), "img: not an image"),
        (Payload({"img": ENCODED, "encoding": "jpeg"}), "encoding: not one of png, npy, pickle"),
        (Payload({"img": ENCODED, "encoding": []}), "encoding: not one of png, npy, pickle"),
        (Payload(files={"img": b""}), "img: empty"),
    ],
)
def test_a_wrong_field_is_named(pipeline: Saliency, payload: Payload, message: str) -> None:
    with pytest.raises(InvalidField) as caught:
        pipeline.preprocess(payload)
    assert str(caught.value).startswith(message)


def test_an_answer_that_is_no_map(pipeline: Saliency) -> None:
    for outputs in ({"other": np.zeros((1, 320, 320, 1))}, {"img_out": np.zeros((1, 3))}):
        with pytest.raises(InternalError):
            pipeline.postprocess(outputs, pipeline.preprocess(Payload(files={"img": FILE})).context)
    with pytest.raises(InternalError, match="finite"):
        map_of(pipeline, np.full((1, 320, 320, 1), np.nan, np.float32))


def test_options() -> None:
    made = Saliency({"size": 64, "mean": [0, 0, 0], "input": "i", "output": "o", "encoding": "pickle"}, Resources())
    prepared = made.preprocess(Payload(files={"img": FILE}))
    assert prepared.inputs["i"].shape == (1, 64, 64, 3)
    answer = made.postprocess({"o": np.zeros((1, 64, 64, 1))}, prepared.context)
    assert isinstance(answer, dict) and answer["encoding"] == "pickle"
    own, of_the_service = (Saliency(options, Resources(encoding="pickle")) for options in ({"encoding": "npy"}, {}))
    payload = Payload({"img": ENCODED})
    assert [made.preprocess(payload).context.encoding for made in (own, of_the_service)] == ["npy", "pickle"]
    for options in ({"sise": 1}, {"mean": [1]}, {"encoding": "jpeg"}, {"size": "x"}):
        with pytest.raises(SettingsError):
            Saliency(options, Resources())


def test_examples_differ_whatever_the_limits() -> None:
    square, disc = Saliency({}, Resources(image=ImageLimits(pixels=1))).examples()
    assert square["img_in"].shape == disc["img_in"].shape == (1, 320, 320, 3)
    assert np.abs(square["img_in"] - disc["img_in"]).mean() > 50


@pytest.mark.parametrize("encoding", ["npy", "pickle"])
def test_an_answer_that_would_be_too_long_is_rejected_before_the_model_is_asked(encoding: str) -> None:
    pipeline = Saliency({}, Resources(answer_bytes=8000))
    with pytest.raises(
        TooLarge, match=r"^answer: it would have more than 8,000 bytes, .*; ask for encoding=png, or send"
    ):
        pipeline.preprocess(Payload({"encoding": encoding}, {"img": FILE}))
    pipeline.preprocess(Payload({"encoding": "png"}, {"img": FILE}))


def test_what_a_picture_costs_is_told_by_its_header(pipeline: Saliency) -> None:
    huge = huge_png(6000, 5000)
    assert pipeline.cost(Payload(files={"": FILE})) == 1.0
    assert pipeline.cost(Payload(files={"img": huge})) == pytest.approx(30.0)
    assert pipeline.cost(Payload({"img": "data:image/png;base64," + base64.b64encode(huge).decode()})) > 16


@pytest.mark.parametrize(
    "payload",
    [Payload(), Payload({"img": 7}), Payload({"img": "***"}), Payload(files={"": b""}), Payload(files={"": FILE[:20]})],
)
def test_what_is_no_picture_costs_as_little_as_any(pipeline: Saliency, payload: Payload) -> None:
    assert pipeline.cost(payload) == 1.0


def test_what_tells_no_size_is_taken_by_its_bytes(pipeline: Saliency) -> None:
    assert pipeline.cost(Payload(files={"": bytes(5_000_000)})) == pytest.approx(20.0)
