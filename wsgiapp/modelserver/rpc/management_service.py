"""`wsgiapp.ModelManagement`: what TF Serving has no method for. The client's side is in `wsgiapp.backend`."""

from typing import Any

import grpc
from google.protobuf import empty_pb2, wrappers_pb2

from wsgiapp.modelserver.lifecycle.config_reloads import ConfigReloads
from wsgiapp.modelserver.rpc.monitoring import Metrics
from wsgiapp.tfserving.messages import MODEL_MANAGEMENT, ModelServerConfig


def handler(reloads: ConfigReloads, metrics: Metrics) -> grpc.GenericRpcHandler:
    """GetConfig answers the active configuration, GetMetrics the metrics in Prometheus's text format."""

    def get_config(request: empty_pb2.Empty, context: grpc.ServicerContext) -> ModelServerConfig:
        return reloads.config

    def get_metrics(request: empty_pb2.Empty, context: grpc.ServicerContext) -> wrappers_pb2.BytesValue:
        return wrappers_pb2.BytesValue(value=metrics.text())

    return grpc.method_handlers_generic_handler(
        MODEL_MANAGEMENT, {"GetConfig": _unary(get_config), "GetMetrics": _unary(get_metrics)}
    )


def _unary(behavior: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        behavior,
        request_deserializer=empty_pb2.Empty.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
