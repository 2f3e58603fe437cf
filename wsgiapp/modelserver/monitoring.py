"""Counters of this process in Prometheus's text format, under TF Serving's names."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric, UntypedMetricFamily

from wsgiapp.modelserver.manager import Manager

# TF Serving's buckets (`tensorflow_serving/servables/tensorflow/util.cc`): from 10 microseconds up, each 1.8 times the
# one before.
LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
OTHER_MODEL = "unknown"  # a name that a client made up must not become a label of its own


class Metrics:
    """Counts calls by model and status, and shows which versions are loaded."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._registry = CollectorRegistry()
        self._requests = Counter("requests", "", ["model_name", "status"])
        self._latency = Histogram(
            ":tensorflow:serving:request_latency",
            "Microseconds of a call, from its request to its response.",
            ["model_name", "API", "entrypoint"],
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)

    def observe(self, model: str, method: str, code: str, seconds: float) -> None:
        """Count a call."""
        if model not in self._manager.availability():
            model = OTHER_MODEL
        self._requests.labels(model, code).inc()
        self._latency.labels(model, method, "GRPC").observe(seconds * 1e6)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """What prometheus-client would name otherwise (it ends counters in `_total`), or what is only looked up."""
        requests = UntypedMetricFamily(
            ":tensorflow:serving:request_count", "Calls, by model and status.", labels=["model_name", "status"]
        )
        for sample in next(iter(self._requests.collect())).samples:
            if sample.name.endswith("_total"):
                requests.add_metric(list(sample.labels.values()), sample.value)
        available = GaugeMetricFamily(
            "wsgiapp:modelserver:model_available", "1 while a version of the model answers.", labels=["model_name"]
        )
        for name, is_available in self._manager.availability().items():
            available.add_metric([name], float(is_available))
        return [requests, available]


class CountingInterceptor(grpc.ServerInterceptor):
    """Tells `Metrics` of each call of PredictionService."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def intercept_service(
        self, continuation: Callable[[Any], grpc.RpcMethodHandler | None], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        handler = continuation(details)
        service, _, method = details.method.lstrip("/").partition("/")
        if handler is None or service != "tensorflow.serving.PredictionService":
            return handler
        behavior = handler.unary_unary

        def counted(request: Any, context: grpc.ServicerContext) -> Any:
            started, code = time.monotonic(), grpc.StatusCode.OK
            try:
                return behavior(request, context)
            except BaseException:
                code = context.code() or grpc.StatusCode.UNKNOWN
                raise
            finally:
                self._metrics.observe(_model_of(request), method, code.name, time.monotonic() - started)

        return grpc.unary_unary_rpc_method_handler(
            counted, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )


def _model_of(request: Any) -> str:
    """The model that a request names; MultiInference names it in each of its tasks."""
    if hasattr(request, "tasks"):
        return request.tasks[0].model_spec.name if request.tasks else ""
    return request.model_spec.name
