"""TF Serving's messages, imported without TensorFlow.

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


def tensorflow_stand_in() -> ModuleType:
    """An empty module with TensorFlow's search path. Raises `ImportError` where TensorFlow is not installed."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("tensorflow is not installed; its protocol buffers are needed")
    stand_in = ModuleType("tensorflow")
    stand_in.__path__ = list(spec.submodule_search_locations)
    return stand_in


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Import generated modules meanwhile, and TensorFlow itself is not loaded."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = tensorflow_stand_in()
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with without_tensorflow():
    from tensorflow.core.example import example_pb2, feature_pb2
    from tensorflow.core.framework import graph_pb2, tensor_pb2, types_pb2, variable_pb2
    from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        model_management_pb2,
        model_pb2,
        predict_pb2,
        prediction_log_pb2,
        regression_pb2,
    )
    from tensorflow_serving.config import model_server_config_pb2

ClassificationRequest = classification_pb2.ClassificationRequest
ClassificationResponse = classification_pb2.ClassificationResponse
ClassificationResult = classification_pb2.ClassificationResult
CollectionDef = meta_graph_pb2.CollectionDef
Example = example_pb2.Example
Feature = feature_pb2.Feature
GetModelMetadataRequest = get_model_metadata_pb2.GetModelMetadataRequest
GetModelMetadataResponse = get_model_metadata_pb2.GetModelMetadataResponse
GetModelStatusRequest = get_model_status_pb2.GetModelStatusRequest
GetModelStatusResponse = get_model_status_pb2.GetModelStatusResponse
GraphDef = graph_pb2.GraphDef
InferenceResult = inference_pb2.InferenceResult
InferenceTask = inference_pb2.InferenceTask
Input = input_pb2.Input
MetaGraphDef = meta_graph_pb2.MetaGraphDef
ModelServerConfig = model_server_config_pb2.ModelServerConfig
ModelSpec = model_pb2.ModelSpec
ModelVersionStatus = get_model_status_pb2.ModelVersionStatus
MultiInferenceRequest = inference_pb2.MultiInferenceRequest
MultiInferenceResponse = inference_pb2.MultiInferenceResponse
PredictRequest = predict_pb2.PredictRequest
PredictResponse = predict_pb2.PredictResponse
PredictionLog = prediction_log_pb2.PredictionLog
Regression = regression_pb2.Regression
RegressionRequest = regression_pb2.RegressionRequest
RegressionResponse = regression_pb2.RegressionResponse
RegressionResult = regression_pb2.RegressionResult
ReloadConfigRequest = model_management_pb2.ReloadConfigRequest
ReloadConfigResponse = model_management_pb2.ReloadConfigResponse
SavedModel = saved_model_pb2.SavedModel
SignatureDef = meta_graph_pb2.SignatureDef
SignatureDefMap = get_model_metadata_pb2.SignatureDefMap
TensorInfo = meta_graph_pb2.TensorInfo
TensorProto = tensor_pb2.TensorProto
VariableDef = variable_pb2.VariableDef

# The largest value of a field of the type int64, such as a version.
INT64_MAX = 2**63 - 1

# A service of the built-in model server besides TF Serving's: GetConfig (google.protobuf.Empty -> ModelServerConfig)
# answers the active configuration, for which TF Serving has no method, and GetMetrics (google.protobuf.Empty ->
# google.protobuf.BytesValue) its metrics in Prometheus's text format.
MODEL_MANAGEMENT = "wsgiapp.ModelManagement"

__all__ = [
    "INT64_MAX",
    "MODEL_MANAGEMENT",
    "ClassificationRequest",
    "ClassificationResponse",
    "ClassificationResult",
    "CollectionDef",
    "Example",
    "Feature",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "GraphDef",
    "InferenceResult",
    "InferenceTask",
    "Input",
    "MetaGraphDef",
    "ModelServerConfig",
    "ModelSpec",
    "ModelVersionStatus",
    "MultiInferenceRequest",
    "MultiInferenceResponse",
    "PredictRequest",
    "PredictResponse",
    "PredictionLog",
    "Regression",
    "RegressionRequest",
    "RegressionResponse",
    "RegressionResult",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "SavedModel",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "TensorProto",
    "VariableDef",
    "error_codes_pb2",
    "tensorflow_stand_in",
    "types_pb2",
    "without_tensorflow",
]
