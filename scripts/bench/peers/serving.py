"""Messages to and from the model server, filled by hand: several times faster than `tf.make_tensor_proto`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import predict_pb2

BACKEND = os.environ.get("BENCH_BACKEND", "127.0.0.1:8500")
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20), ("grpc.max_send_message_length", 64 * 2**20)]


def text_request(words: Sequence[str]) -> predict_pb2.PredictRequest:
    """One segmented sentence."""
    request = _request("lstm")
    tensor = request.inputs["words"]
    tensor.dtype = types_pb2.DT_STRING
    for size in (1, len(words)):
        tensor.tensor_shape.dim.add().size = size
    tensor.string_val.extend([word.encode() for word in words])
    length = request.inputs["nwords"]
    length.dtype = types_pb2.DT_INT32
    length.tensor_shape.dim.add().size = 1
    length.int_val.append(len(words))
    return request


def text_outputs(response: predict_pb2.PredictResponse) -> tuple[str, int, list[float]]:
    """Label, class id and softmax of the one sentence."""
    outputs = response.outputs
    label = outputs["labels"].string_val[0].decode()
    class_id = int(_numbers(outputs["classes_id"])[0])
    return label, class_id, _numbers(outputs["softmax"]).tolist()


def image_request(pixels: np.ndarray) -> predict_pb2.PredictRequest:
    """One picture, float32 (1, height, width, 3)."""
    request = _request("cv_sod")
    tensor = request.inputs["img_in"]
    tensor.dtype = types_pb2.DT_FLOAT
    for size in pixels.shape:
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = pixels.tobytes()
    return request


def image_output(response: predict_pb2.PredictResponse) -> np.ndarray:
    """The map, float32 with the model's shape."""
    tensor = response.outputs["img_out"]
    return _numbers(tensor).reshape([dim.size for dim in tensor.tensor_shape.dim])


def _request(model: str) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    return request


def _numbers(tensor: TensorProto) -> np.ndarray:
    """A numeric tensor's values, flat, in whichever of its two forms they came."""
    types = {types_pb2.DT_FLOAT: np.float32, types_pb2.DT_INT32: np.int32, types_pb2.DT_INT64: np.int64}
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, types[tensor.dtype])
    values = {types_pb2.DT_FLOAT: tensor.float_val, types_pb2.DT_INT32: tensor.int_val}
    return np.asarray(values.get(tensor.dtype, tensor.int64_val), types[tensor.dtype])
