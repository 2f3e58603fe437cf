"""A port and a Unix socket: who may call what there, and that nobody takes the threads of others."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.fake_servable import FakeServable, signature
from support.processes import free_port, poll
from support.serving_client import ServingClient, connected, failure, model_spec, outputs_of, predict_request
from support.version_folders import VersionFolders
from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.rpc import management_service
from wsgiapp.modelserver.rpc.admission import Admission
from wsgiapp.modelserver.rpc.health import Health
from wsgiapp.modelserver.rpc.listener import STATUS_THREADS, Listener
from wsgiapp.modelserver.rpc.model_service import ModelService
from wsgiapp.modelserver.rpc.monitoring import Metrics
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving.messages import MODEL_MANAGEMENT, ModelSpec, ReloadConfigRequest, without_tensorflow
from wsgiapp.tfserving.stubs import add_model_service, add_prediction_service

with without_tensorflow():  # which other tests of this process want whole
    from wsgiapp.modelserver.rpc.prediction_service import PredictionService
    from wsgiapp.modelserver.rpc.profiler_service import ProfilerService

SLOTS = 4  # for two models: each keeps one, and two are for both
MAX_WAITING = 3


class Models:
    """`quick` answers at once, `slow` when it is let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.servables = {"quick": self._servable(lambda: None), "slow": self._servable(lambda: self.gate.wait(60))}

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[tuple[int, FakeServable]]:
        yield 1, self.servables[spec.name]

    def runs(self, model: str) -> int:
        return len(self.servables[model].runs)

    @staticmethod
    def _servable(wait: Callable[[], object]) -> FakeServable:
        def answer(_: object) -> np.ndarray:
            wait()
            return np.ones(1, np.float32)

        return FakeServable({"y:0": answer}, serving_default=signature("predict", {}, {"y": "y:0 DT_FLOAT"}))


class Served:
    """A client at the port, where nothing is managed, and one at the socket."""

    def __init__(self, folder: Path, models: Models, folders: VersionFolders) -> None:
        self.models, self.folders = models, folders
        self.socket = folder / "grpc.sock"
        self.addresses = (f"127.0.0.1:{free_port()}", f"unix:{self.socket}")
        self.admission = Admission(SLOTS, MAX_WAITING)
        self.admission.set_models(2)
        health, metrics = Health(folders.leases), Metrics(folders.leases, folders.loader)
        self.listeners = [Listener(address, manages=address.startswith("unix:")) for address in self.addresses]
        for listener in self.listeners:
            predictions = PredictionService(models, InferenceOptions(), self.admission)  # type: ignore[arg-type]
            add_prediction_service(predictions, listener.server)
            add_model_service(ModelService(folders.leases, folders.reloads), listener.server)
            health.add_to(listener.server)
            handlers = (management_service.handler(folders.reloads, metrics), ProfilerService().handler())
            listener.server.add_generic_rpc_handlers(handlers)
            listener.open()
        self.channels = [grpc.insecure_channel(address) for address in self.addresses]
        self.port_client, self.socket_client = map(ServingClient, self.channels, self.addresses)

    def close(self) -> None:
        self.models.gate.set()
        for channel in self.channels:
            channel.close()
        for listener in self.listeners:
            listener.stop(0).wait()


@pytest.fixture
def served(tmp_path: Path, make_folders: Callable[..., VersionFolders]) -> Iterator[Served]:
    folders: VersionFolders = make_folders()
    folders.add("m", 1)
    made = Served(tmp_path, Models(), folders)
    folders.start(m="")
    yield made
    made.close()


def predict(client: ServingClient, model: str) -> list[float]:
    values: list[float] = outputs_of(client.predict(predict_request(model_spec(model), {})))["y"]
    return values


def health(channel: grpc.Channel) -> int:
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20).status


def test_the_port_answers_predictions_and_status_alone(served: Served) -> None:
    client = served.port_client
    assert predict(client, "quick") == [1.0]
    assert client.metadata(model_spec("quick"), "signature_def").metadata
    poll(lambda: len(client.status(model_spec("m")).model_version_status) == 1)
    poll(lambda: health(client.channel) == health_pb2.HealthCheckResponse.SERVING)
    reload = ReloadConfigRequest(config=served.folders.config(m=""))
    closed = {
        f"{MODEL_MANAGEMENT}/GetConfig": empty_pb2.Empty(),
        f"{MODEL_MANAGEMENT}/GetMetrics": empty_pb2.Empty(),
        "tensorflow.ProfilerService/Profile": empty_pb2.Empty(),
        "tensorflow.ProfilerService/Terminate": empty_pb2.Empty(),
        "tensorflow.serving.ModelService/HandleReloadConfigRequest": reload,
    }
    for method, request in closed.items():
        call = client.channel.unary_unary(f"/{method}", request_serializer=lambda message: message.SerializeToString())
        code, text = failure(lambda call=call, request=request: call(request, timeout=20))
        assert code == "PERMISSION_DENIED", method
        assert text.startswith(method.rpartition("/")[2]), text
        assert "on its Unix socket only" in text
    assert failure(client.channel.unary_unary("/no.Such/Method"), b"")[0] == "UNIMPLEMENTED"


def test_the_socket_answers_all_and_is_for_user_and_group(served: Served) -> None:
    client = served.socket_client
    assert predict(client, "quick") == [1.0]
    assert (
        client.models.HandleReloadConfigRequest(
            ReloadConfigRequest(config=served.folders.config(m="")), timeout=20
        ).status.error_code
        == 0
    )
    assert served.socket.stat().st_mode & 0o777 == 0o660


def test_a_slow_model_takes_neither_the_slots_of_others_nor_the_threads_of_status(served: Served) -> None:
    with ThreadPoolExecutor(16) as clients:
        slow = [clients.submit(predict, served.port_client, "slow") for _ in range(SLOTS - 1 + MAX_WAITING)]
        poll(lambda: served.models.runs("slow") == SLOTS - 1, what="slow predictions in all slots but the other's own")
        poll(lambda: served.admission.waiting("slow") == MAX_WAITING)
        code, text = failure(predict, served.port_client, "slow")
        assert (code, "the queue of model 'slow' is full" in text) == ("UNAVAILABLE", True)
        for client in (served.port_client, served.socket_client):
            assert predict(client, "quick") == [1.0]
            assert client.status(model_spec("m")).model_version_status
            assert health(client.channel)
        served.models.gate.set()
        assert [each.result(60) for each in slow] == [[1.0]] * len(slow)
    assert served.models.runs("slow") == len(slow)


def test_what_nobody_waits_for_any_more_is_not_run(served: Served) -> None:
    request = predict_request(model_spec("slow"), {})
    begun = [served.port_client.predictions.Predict.future(request, timeout=60) for _ in range(SLOTS - 1)]
    poll(lambda: served.models.runs("slow") == SLOTS - 1)
    late = served.port_client.predictions.Predict.future(request, timeout=0.2)
    cancelled = served.port_client.predictions.Predict.future(request, timeout=60)
    poll(lambda: served.admission.waiting("slow") == 2)
    cancelled.cancel()
    assert late.exception(20).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    poll(lambda: served.admission.waiting("slow") == 0, what="an empty queue")
    served.models.gate.set()
    assert all(each.result(20) for each in begun)
    assert predict(served.port_client, "slow") == [1.0]
    assert served.models.runs("slow") == SLOTS, "and neither of the two"


def test_calls_that_never_send_their_message_keep_nobody_at_the_socket_waiting(served: Served) -> None:
    done = threading.Event()

    def nothing() -> Iterator[bytes]:
        done.wait(60)
        yield from ()

    check = served.port_client.channel.stream_unary("/grpc.health.v1.Health/Check")
    held = [check.future(nothing(), timeout=60) for _ in range(STATUS_THREADS)]
    assert health(served.socket_client.channel)
    assert predict(served.port_client, "quick") == [1.0]
    done.set()
    for each in held:
        each.cancel()


def test_a_server_takes_the_socket_of_another_one_which_leaves_it_alone(served: Served) -> None:
    second = Listener(served.addresses[1], manages=True)
    predictions = PredictionService(served.models, InferenceOptions(), Admission())  # type: ignore[arg-type]
    add_prediction_service(predictions, second.server)
    second.open()
    served.listeners[1].stop(0).wait()
    with connected(served.addresses[1]) as client:
        assert predict(client, "quick") == [1.0]
    second.stop(0).wait()
    assert not served.socket.exists()
    assert [path.name for path in served.socket.parent.iterdir()] == ["m"], "nothing is left"


def test_a_socket_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    listener = Listener(f"unix:{tmp_path}/{'x' * 108}", manages=True)
    with pytest.raises(SettingsError, match="longer than the 107 bytes that a Unix socket's path can have"):
        listener.open()
