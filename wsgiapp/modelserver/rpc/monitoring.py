"""Metrics of this process in Prometheus's text format, under TF Serving's names."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric, UntypedMetricFamily

from wsgiapp.modelserver.lifecycle.leases import Leases
from wsgiapp.modelserver.lifecycle.loader import Loader

# TF Serving's buckets (`tensorflow_serving/servables/tensorflow/util.cc`): from 10 microseconds up, each 1.8 times the
# one before.
LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
OTHER_MODEL = "unknown"  # a name that a client made up must not become a label of its own


class Metrics:
    """Counts calls by model and status, and shows what is loaded."""

    def __init__(self, leases: Leases, loader: Loader) -> None:
        self._leases = leases
        self._loader = loader
        self._registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
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
        if not self._leases.is_configured(model):
            model = OTHER_MODEL
        with self._lock:
            self._calls[model, code] += 1
        self._latency.labels(model, method, "GRPC").observe(seconds * 1e6)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The gauges, and the counters: prometheus-client ends the names of its own counters in `_total`."""
        calls = UntypedMetricFamily(":tensorflow:serving:request_count", "Calls.", labels=["model_name", "status"])
        with self._lock:
            for labels, count in self._calls.items():
                calls.add_metric(labels, count)
        loads = UntypedMetricFamily(
            "wsgiapp:modelserver:load_attempts", "Attempts to load a version.", labels=["model_name", "status"]
        )
        for (name, succeeded), count in self._loader.attempts().items():
            loads.add_metric([name, "OK" if succeeded else "ERROR"], count)
        available = GaugeMetricFamily(
            "wsgiapp:modelserver:model_available", "1 while a version of the model answers.", labels=["model_name"]
        )
        for name, is_available in self._leases.availability().items():
            available.add_metric([name], float(is_available))
        return [calls, loads, available]


class CountingInterceptor(grpc.ServerInterceptor):
    """Counts each call of PredictionService in `Metrics`."""

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
