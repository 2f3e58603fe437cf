"""ModelService, health, metrics and wsgiapp.ModelManagement over a real channel, with a loader that reads numbers."""

import queue
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, wrappers_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.processes import poll
from support.version_folders import ALL, VersionFolders, labels, spec, specific
from wsgiapp.modelserver.rpc import management_service
from wsgiapp.modelserver.rpc.health import Health
from wsgiapp.modelserver.rpc.model_service import ModelService
from wsgiapp.modelserver.rpc.monitoring import CountingInterceptor, Metrics
from wsgiapp.tfserving.messages import (
    MODEL_MANAGEMENT,
    GetModelStatusRequest,
    ModelServerConfig,
    ModelVersionStatus,
    MultiInferenceRequest,
    PredictRequest,
    PredictResponse,
    ReloadConfigRequest,
    error_codes_pb2,
)
from wsgiapp.tfserving.stubs import (
    ModelServiceStub,
    PredictionServiceServicer,
    PredictionServiceStub,
    add_model_service,
    add_prediction_service,
)

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Predictions(PredictionServiceServicer):
    """Answers nothing for models that are there, and NOT_FOUND for others."""

    def __init__(self, folders: VersionFolders) -> None:
        self._folders = folders

    def Predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        if request.model_spec.name not in self._folders.leases.availability():
            context.abort(grpc.StatusCode.NOT_FOUND, "not there")
        return PredictResponse()

    def MultiInference(self, request: MultiInferenceRequest, context: grpc.ServicerContext) -> Any:
        raise RuntimeError("unexpected")


class Served:
    """Models `a` (versions 1 and 2, `stable` is 1) and `b`, and stubs of a server over it."""

    def __init__(self, folder: Path) -> None:
        self.folders = VersionFolders(folder)
        for model, version in (("a", 1), ("a", 2), ("b", 1)):
            self.folders.add(model, version)
        self.health = Health(self.folders.leases)
        self.metrics = Metrics(self.folders.leases, self.folders.loader)
        self._server = grpc.server(ThreadPoolExecutor(8), interceptors=[CountingInterceptor(self.metrics)])
        add_model_service(ModelService(self.folders.leases, self.folders.reloads), self._server)
        add_prediction_service(Predictions(self.folders), self._server)
        self.health.add_to(self._server)
        self._server.add_generic_rpc_handlers((management_service.handler(self.folders.reloads, self.metrics),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.models = ModelServiceStub(self.channel)
        self.predictions = PredictionServiceStub(self.channel)
        self.health_stub = health_pb2_grpc.HealthStub(self.channel)

    def reload(self, timeout: float | None = 20, **models: str) -> Any:
        return self.models.HandleReloadConfigRequest(ReloadConfigRequest(config=self.folders.config(**models)), timeout)

    def states(self, model: str) -> dict[int, int]:
        answer = self.models.GetModelStatus(GetModelStatusRequest(model_spec=spec(model)), timeout=20)
        return {each.version: each.state for each in answer.model_version_status}

    def check(self, service: str = "") -> int:
        return self.health_stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20).status

    def manage(self, method: str, response: type) -> Any:
        call = self.channel.unary_unary(
            f"/{MODEL_MANAGEMENT}/{method}",
            request_serializer=empty_pb2.Empty.SerializeToString,
            response_deserializer=response.FromString,
        )
        return call(empty_pb2.Empty(), timeout=20)

    def close(self) -> None:
        self.folders.open_gates()
        self.channel.close()
        self._server.stop(None).wait()
        self.folders.reconciler.stop(10)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.folders.start(a=ALL + labels(stable=1), b="")
    yield made
    made.close()


def test_status(served: Served) -> None:
    assert served.states("a") == {1: ModelVersionStatus.AVAILABLE, 2: ModelVersionStatus.AVAILABLE}
    for request, code, text in (
        (GetModelStatusRequest(), grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (GetModelStatusRequest(model_spec=spec("x")), grpc.StatusCode.NOT_FOUND, "any versions of model x"),
        (GetModelStatusRequest(model_spec=spec("a", 9)), grpc.StatusCode.NOT_FOUND, "find version 9 of model a"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            served.models.GetModelStatus(request, timeout=20)
        assert caught.value.code() is code
        assert text in caught.value.details()


def test_a_reload_that_works(served: Served) -> None:
    response = served.reload(a=ALL + labels(stable=2))
    assert (response.status.error_code, response.status.error_message) == (error_codes_pb2.OK, "")
    assert served.folders.answer("a", label="stable") == 2
    active = served.manage("GetConfig", ModelServerConfig)
    assert active == served.folders.config(a=ALL + labels(stable=2))


def test_reloads_that_fail(served: Served) -> None:
    served.folders.add("bad", 1, "one")
    for models, code, text in (
        ({"a": labels(stable=7)}, grpc.StatusCode.FAILED_PRECONDITION, "assign label to version 7 of model a"),
        ({"a": ALL, "b": "", "bad": ""}, grpc.StatusCode.UNKNOWN, "1 model(s) did not become available"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            served.reload(**models)
        assert caught.value.code() is code
        assert text in caught.value.details()
        assert served.folders.answer("a") == 2
    with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported") as caught:
        served.models.HandleReloadConfigRequest(ReloadConfigRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_reload_answers_before_its_deadline(served: Served) -> None:
    served.folders.add("hangs", 1)
    served.folders.close_gate("hangs")
    with pytest.raises(grpc.RpcError, match="still loading: version 1 of model hangs"):
        served.reload(timeout=1.5, a=ALL, hangs="")
    assert served.folders.answer("a") == 2


def test_a_reload_that_waits_for_its_turn_leaves_with_its_caller(served: Served) -> None:
    served.folders.add("b", 2)
    served.folders.close_gate("b")
    request = ReloadConfigRequest(config=served.folders.config(b=labels(new=2)))
    first = served.models.HandleReloadConfigRequest.future(request)
    poll(lambda: 2 in served.states("b"), 10)
    with pytest.raises(grpc.RpcError, match="another reload is under way"):
        served.reload(timeout=1, a="")
    first.cancel()
    served.reload(a="", b=specific(1))
    assert served.folders.answer("b") == 1


def test_health_tells_the_truth(served: Served) -> None:
    assert (served.check(), served.check("a"), served.check("b")) == (SERVING, SERVING, SERVING)
    with pytest.raises(grpc.RpcError) as caught:
        served.check("nosuch")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    shutil.rmtree(served.folders.folder / "b" / "1")
    served.folders.poll()
    poll(lambda: served.check() == NOT_SERVING, 10)
    assert (served.check("a"), served.check("b")) == (SERVING, NOT_SERVING)
    served.reload(a=ALL)
    poll(lambda: served.check() == SERVING, 10)
    assert served.check("b") == SERVICE_UNKNOWN


def test_health_is_watched(served: Served) -> None:
    seen: queue.Queue[int] = queue.Queue()
    watch = served.health_stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)

    def collect() -> None:
        try:
            for response in watch:
                seen.put(response.status)
        except grpc.RpcError:
            pass

    thread = threading.Thread(target=collect)
    thread.start()
    assert seen.get(timeout=10) == SERVING
    served.folders.close_gate("new")
    served.folders.add("new", 1)
    with ThreadPoolExecutor() as threads:
        reload = threads.submit(served.reload, a=ALL, new="")
        assert seen.get(timeout=10) == NOT_SERVING
        served.folders.open_gates()
        assert seen.get(timeout=10) == SERVING
        reload.result(10)
    served.health.drain()
    assert seen.get(timeout=10) == NOT_SERVING
    served.health.update()
    assert (served.check(), served.check("a")) == (NOT_SERVING, NOT_SERVING)
    watch.cancel()
    thread.join()


def test_calls_are_counted_by_model_and_status(served: Served) -> None:
    for _ in range(2):
        served.predictions.Predict(PredictRequest(model_spec=spec("a")), timeout=20)
    with pytest.raises(grpc.RpcError, match="not there"):
        served.predictions.Predict(PredictRequest(model_spec=spec("made up")), timeout=20)
    request = MultiInferenceRequest()
    request.tasks.add().model_spec.name = "b"
    with pytest.raises(grpc.RpcError):
        served.predictions.MultiInference(request, timeout=20)

    def text() -> str:
        return served.manage("GetMetrics", wrappers_pb2.BytesValue).value.decode()

    count = ':tensorflow:serving:request_count{model_name="%s",status="%s"} %s\n'
    for model, status, calls in (("a", "OK", "2.0"), ("unknown", "NOT_FOUND", "1.0"), ("b", "UNKNOWN", "1.0")):
        poll(lambda line=count % (model, status, calls): line in text(), 10)  # it is counted after the answer
    latency = ':tensorflow:serving:request_latency_count{API="Predict",entrypoint="GRPC",model_name="a"} 2.0'
    assert latency in text()
    assert "# TYPE :tensorflow:serving:request_latency histogram" in text()
    assert 'wsgiapp:modelserver:model_available{model_name="a"} 1.0' in text()
    assert 'wsgiapp:modelserver:load_attempts{model_name="a",status="OK"} 2.0' in text()
    assert "made up" not in text()
