"""TF Serving's messages and stubs, imported without TensorFlow.

The generated modules import `tensorflow.core.framework...`, whose parent package loads all of TensorFlow (measured:
4.5 s and 560 MB). While they are imported, an empty module with TensorFlow's search path stands in for the parent, so
that only the generated modules below it are loaded (0.2 s, 33 MB). A process that has already imported TensorFlow
keeps the real one, and a later `import tensorflow` still gets it.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("tensorflow is not installed; its protocol buffers are needed")
    stand_in = ModuleType("tensorflow")
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = stand_in
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with _without_tensorflow():
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )
    from tensorflow_serving.config import model_server_config_pb2

GetModelMetadataRequest = get_model_metadata_pb2.GetModelMetadataRequest
GetModelMetadataResponse = get_model_metadata_pb2.GetModelMetadataResponse
GetModelStatusRequest = get_model_status_pb2.GetModelStatusRequest
GetModelStatusResponse = get_model_status_pb2.GetModelStatusResponse
ModelServerConfig = model_server_config_pb2.ModelServerConfig
ModelSpec = model_pb2.ModelSpec
ModelVersionStatus = get_model_status_pb2.ModelVersionStatus
PredictRequest = predict_pb2.PredictRequest
PredictResponse = predict_pb2.PredictResponse
SavedModel = saved_model_pb2.SavedModel
SignatureDef = meta_graph_pb2.SignatureDef
SignatureDefMap = get_model_metadata_pb2.SignatureDefMap
TensorProto = tensor_pb2.TensorProto
TensorShapeProto = tensor_shape_pb2.TensorShapeProto

ModelServiceServicer = model_service_pb2_grpc.ModelServiceServicer
ModelServiceStub = model_service_pb2_grpc.ModelServiceStub
PredictionServiceServicer = prediction_service_pb2_grpc.PredictionServiceServicer
PredictionServiceStub = prediction_service_pb2_grpc.PredictionServiceStub
add_model_service = model_service_pb2_grpc.add_ModelServiceServicer_to_server
add_prediction_service = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server

__all__ = [
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "ModelServerConfig",
    "ModelServiceServicer",
    "ModelServiceStub",
    "ModelSpec",
    "ModelVersionStatus",
    "PredictRequest",
    "PredictResponse",
    "PredictionServiceServicer",
    "PredictionServiceStub",
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorProto",
    "TensorShapeProto",
    "add_model_service",
    "add_prediction_service",
    "error_codes_pb2",
    "types_pb2",
]
