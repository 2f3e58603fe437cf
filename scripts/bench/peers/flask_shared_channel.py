"""Flask with one channel a process, and messages filled by hand: the better way to write it."""

from __future__ import annotations

import grpc
from flask import Flask, Response, request
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from bench.peers import words
from bench.peers.serving import BACKEND, CHANNEL_OPTIONS, text_outputs, text_request


def create_app() -> Flask:
    """The application; called in the process that serves it, because a channel does not survive a fork."""
    app = Flask(__name__)
    stub = PredictionServiceStub(grpc.insecure_channel(BACKEND, options=CHANNEL_OPTIONS))
    words.segment("预热")

    @app.post("/lstm/predict")
    def text() -> Response:
        row = words.segment(request.get_json()["line"])
        response = stub.Predict(text_request(row), timeout=10)
        return Response(words.answer_json(*text_outputs(response)), mimetype="application/json")

    return app
