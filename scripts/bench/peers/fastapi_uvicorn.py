"""FastAPI under uvicorn (uvloop, httptools) with one asynchronous channel a worker.

`uvicorn bench.peers.fastapi_uvicorn:app --workers CORES`
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import grpc
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from bench.peers import picture, words
from bench.peers.serving import BACKEND, CHANNEL_OPTIONS, image_output, image_request, text_outputs, text_request


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the channel as long as the worker lives; it belongs to the loop that it was made on."""
    words.segment("预热")
    async with grpc.aio.insecure_channel(BACKEND, options=CHANNEL_OPTIONS) as channel:
        app.state.stub = PredictionServiceStub(channel)
        yield


app = FastAPI(lifespan=lifespan)


class Sentence(BaseModel):
    """The body of a text request."""

    line: str


@app.post("/lstm/predict")
async def text(sentence: Sentence) -> Response:
    """A sentence's label. Segmentation takes less than handing it to a thread."""
    response = await app.state.stub.Predict(text_request(words.segment(sentence.line)), timeout=10)
    return Response(words.answer_json(*text_outputs(response)), media_type="application/json")


@app.post("/cv_sod/predict")
async def image(request: Request) -> Response:
    """A picture's mask. OpenCV works on a thread, so that the loop stays free."""
    pixels, (height, width) = await anyio.to_thread.run_sync(picture.network_input, await request.body())
    response = await app.state.stub.Predict(image_request(pixels), timeout=10)
    mask = await anyio.to_thread.run_sync(picture.encode_mask, image_output(response), height, width)
    return Response(picture.answer_json(mask, height, width), media_type="application/json")
