"""Flask under gunicorn's sync workers, a channel for each request, TensorFlow's own conversions: what most run.

`gunicorn --workers 4 --worker-class sync bench.peers.flask_gunicorn:app`
"""

from __future__ import annotations

import grpc
import tensorflow as tf
from flask import Flask, Response, request
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from bench.peers import picture, words
from bench.peers.serving import BACKEND, CHANNEL_OPTIONS

app = Flask(__name__)
words.segment("预热")


@app.post("/lstm/predict")
def text() -> Response:
    """A sentence's label."""
    row = words.segment(request.get_json()["line"])
    outputs = _predict("lstm", words=tf.make_tensor_proto([row]), nwords=tf.make_tensor_proto([len(row)], tf.int32))
    label = tf.make_ndarray(outputs["labels"])[0].decode()
    class_id = int(tf.make_ndarray(outputs["classes_id"])[0])
    softmax = tf.make_ndarray(outputs["softmax"])[0].tolist()
    return Response(words.answer_json(label, class_id, softmax), mimetype="application/json")


@app.post("/cv_sod/predict")
def image() -> Response:
    """A picture's mask."""
    pixels, (height, width) = picture.network_input(request.get_data())
    outputs = _predict("cv_sod", img_in=tf.make_tensor_proto(pixels))
    mask = picture.encode_mask(tf.make_ndarray(outputs["img_out"]), height, width)
    return Response(picture.answer_json(mask, height, width), mimetype="application/json")


def _predict(model: str, **inputs: tf.compat.v1.TensorProto) -> dict[str, tf.compat.v1.TensorProto]:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.model_spec.signature_name = "serving_default"
    for name, tensor in inputs.items():
        message.inputs[name].CopyFrom(tensor)
    with grpc.insecure_channel(BACKEND, options=CHANNEL_OPTIONS) as channel:
        return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(message, timeout=10).outputs
