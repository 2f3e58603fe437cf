"""The model server as a process: its flags, its calls, its drain."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.certificates import OPENSSL, Authority, ssl_config
from support.http_client import fetch
from support.processes import SHARED_DATA, Process, free_port, poll, python_module
from support.profiler_client import ProfilerClient
from support.version_folders import ALL, config_of, labels
from wsgiapp.tfserving.messages import (
    MODEL_MANAGEMENT,
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelServerConfig,
    ModelVersionStatus,
    PredictRequest,
    SignatureDefMap,
    TensorProto,
    types_pb2,
)
from wsgiapp.tfserving.stubs import ModelServiceStub, PredictionServiceStub
from wsgiapp.tfserving.tensors import decode_tensor, encode_tensor


class Client:
    """TF Serving's stubs, as any client has them."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.predictions = PredictionServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)

    def predict(
        self, value: float = 2.0, version: int | None = None, outputs: tuple[str, ...] = (), model: str = "tiny"
    ) -> tuple[float, int]:
        request = PredictRequest(output_filter=outputs)
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        request.inputs["x"].CopyFrom(encode_tensor(np.array([[value]], np.float32)))
        response = self.predictions.Predict(request, timeout=30)
        return float(decode_tensor(response.outputs["y"])[0, 0]), response.model_spec.version.value


@pytest.fixture
def client(tiny_server: str) -> Iterator[Client]:
    made = Client(tiny_server)
    yield made
    made.channel.close()


def flags(folder: Path, port: int, *more: str) -> list[str]:
    return python_module(
        "wsgiapp.modelserver", f"--port={port}", "--model_name=tiny", f"--model_base_path={folder}", *more
    )


def test_predict(client: Client) -> None:
    assert client.predict() == (4.0, 2)
    assert client.predict(version=1) == (3.0, 1)
    assert client.predict(outputs=("y",)) == (4.0, 2)


def test_numbers_come_in_typed_fields_by_default(client: Client) -> None:
    request = PredictRequest()
    request.model_spec.name = "tiny"
    request.inputs["x"].CopyFrom(encode_tensor(np.ones((2, 1), np.float32), as_content=False))
    response = client.predictions.Predict(request, timeout=30)
    assert list(response.outputs["y"].float_val) == [3.5, 3.5]
    assert not response.outputs["y"].tensor_content
    assert response.model_spec.signature_name == "serving_default"


@pytest.mark.parametrize(
    ("tensor", "outputs", "message"),
    [
        (TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123"), (), "came with 3 bytes"),
        (TensorProto(dtype=types_pb2.DT_STRING, string_val=[b"a"]), (), "(input x)"),
        (encode_tensor(np.ones((1, 1), np.float32)), ("z",), "output tensor alias not found in signature: z"),
    ],
)
def test_a_bad_call_is_the_client_s_mistake(
    client: Client, tensor: TensorProto, outputs: tuple[str, ...], message: str
) -> None:
    request = PredictRequest(output_filter=outputs)
    request.model_spec.name = "tiny"
    request.inputs["x"].CopyFrom(tensor)
    with pytest.raises(grpc.RpcError) as caught:
        client.predictions.Predict(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()


def test_metadata(client: Client) -> None:
    request = GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    response = client.predictions.GetModelMetadata(request, timeout=30)
    signatures = SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "echo", "slow"} <= set(signatures.signature_def)
    assert signatures.signature_def["serving_default"].inputs["x"].dtype == types_pb2.DT_FLOAT
    assert (response.model_spec.name, response.model_spec.version.value) == ("tiny", 2)
    for fields in ([], ["other"]):
        request = GetModelMetadataRequest(metadata_field=fields)
        request.model_spec.name = "tiny"
        with pytest.raises(grpc.RpcError) as caught:
            client.predictions.GetModelMetadata(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_status_of_an_unknown_model(client: Client) -> None:
    request = GetModelStatusRequest()
    request.model_spec.name = "nosuch"
    with pytest.raises(grpc.RpcError) as caught:
        client.models.GetModelStatus(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_versions_come_and_go_while_it_runs_and_it_drains(tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_versions[1], tmp_path / "tiny" / "1")
    port = free_port()
    server = Process(
        flags(tmp_path / "tiny", port, "--file_system_poll_wait_seconds=0.2"),
        tmp_path / "log",
        KERAS_HOME=str(tmp_path),
    )
    with server:
        server.wait_until(lambda: "serving gRPC" in server.output)
        client = Client(f"127.0.0.1:{port}")
        assert client.predict() == (3.0, 1)

        shutil.copytree(tiny_versions[2], tmp_path / "tiny" / "2")
        poll(lambda: client.predict() == (4.0, 2), 30)

        (tmp_path / "tiny" / "3").mkdir()  # a copy that has only begun
        (tmp_path / "tiny" / "3" / "saved_model.pb").write_bytes(b"\x08\x01garbage")
        poll(lambda: "version 3 cannot be loaded" in server.output, 30)
        assert client.predict() == (4.0, 2)
        request = GetModelStatusRequest()
        request.model_spec.name = "tiny"
        newest = client.models.GetModelStatus(request, timeout=30).model_version_status[0]
        assert (newest.version, newest.state) == (3, ModelVersionStatus.END)
        assert newest.status.error_message

        shutil.rmtree(tmp_path / "tiny" / "3")
        shutil.rmtree(tmp_path / "tiny" / "2")
        poll(lambda: client.predict() == (3.0, 1), 30)

        trace = ProfilerClient(client.channel).begin("s")
        call = slow_call(client, 3.0)
        server.send(signal.SIGTERM)
        assert decode_tensor(call.result(60).outputs["done"]) == 1.0
        assert trace.result().tool_data, "the drain ends a trace, and its client gets what was recorded"
        assert server.wait(30) == 0
        client.channel.close()


def slow_call(client: Client, seconds: float) -> grpc.Future:
    """A call that runs for about so long, however fast the processor is, and has surely begun."""

    def start(turns: int) -> grpc.Future:
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "tiny", "slow"
        request.inputs["turns"].CopyFrom(encode_tensor(np.array(turns, np.int32)))
        return client.predictions.Predict.future(request, timeout=120)

    turns = 50
    start(1).result()  # the first run of a graph takes longer
    started = time.monotonic()
    start(turns).result()
    call = start(int(turns * seconds / (time.monotonic() - started)))
    for _ in range(3):
        client.predict()
    assert not call.done()
    return call


def answers(client: Client, model: str) -> bool:
    try:
        return bool(client.predict(model=model))
    except grpc.RpcError:
        return False


def health_of(channel: grpc.Channel, service: str = "") -> int:
    return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status


def write_config(path: Path, **models: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(str(config_of(path.parent, **models)))
    beside.rename(path)


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory, tiny_versions: dict[int, Path]) -> Path:
    folder = tmp_path_factory.mktemp("all")
    for model, version in (("tiny", 1), ("tiny", 2), ("other", 1)):
        shutil.copytree(tiny_versions[version], folder / model / str(version))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    write_config(folder / "models.config", tiny=ALL + labels(stable=1))
    return folder


@pytest.fixture(scope="module")
def full_server(full_folder: Path) -> Iterator[Process]:
    """With a TCP port, a UNIX socket, REST, metrics, and a configuration file that is polled."""
    command = python_module(
        "wsgiapp.modelserver",
        f"--port={free_port()}",
        f"--rest_api_port={free_port()}",
        f"--grpc_socket_path={full_folder}/grpc.sock",
        "--management=socket",
        f"--model_roots={full_folder}",
        f"--model_config_file={full_folder}/models.config",
        "--model_config_file_poll_wait_seconds=0.2",
        "--file_system_poll_wait_seconds=0.2",
        f"--monitoring_config_file={full_folder}/monitoring.config",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000000,grpc.lb_policy_name=grpclb",
        "--rest_api_num_threads=8",
        "--rest_api_enable_cors_support",
        "--enable_model_warmup=false",
    )
    with Process(command, full_folder / "log", KERAS_HOME=str(full_folder), TMPDIR=str(full_folder)) as process:
        process.wait_until(lambda: "Exporting HTTP/REST API at:" in process.output)
        yield process


@pytest.fixture
def full_client(full_server: Process, full_folder: Path) -> Iterator[Client]:
    made = Client(f"unix:{full_folder}/grpc.sock")
    yield made
    made.channel.close()


def address_after(full_server: Process, text: str) -> str:
    return full_server.output.partition(text)[2].split()[0]


def test_its_log_has_addresses_and_ignored_flags(full_server: Process, full_folder: Path) -> None:
    assert f"Running gRPC ModelServer at UNIX socket {full_folder}/grpc.sock ..." in full_server.output
    assert "Running gRPC ModelServer at 0.0.0.0:" in full_server.output
    assert "--rest_api_num_threads=8 is ignored" in full_server.output


def test_both_ways_to_grpc(full_server: Process, full_client: Client) -> None:
    assert full_client.predict() == (4.0, 2)
    port = address_after(full_server, "Running gRPC ModelServer at 0.0.0.0:")
    over_tcp = Client(f"127.0.0.1:{port}")
    assert over_tcp.predict() == (4.0, 2)
    assert health_of(over_tcp.channel) == health_pb2.HealthCheckResponse.SERVING
    over_tcp.channel.close()


def test_rest_and_metrics(full_server: Process, full_client: Client) -> None:
    full_client.predict()
    url = "http://127.0.0.1:" + address_after(full_server, "Exporting HTTP/REST API at:0.0.0.0:")
    assert fetch(f"{url}/healthz").status == 200
    metrics = fetch(f"{url}/monitoring/prometheus/metrics")
    assert metrics.status == 200
    assert b"# TYPE" in metrics.body
    assert b':tensorflow:serving:request_count{model_name="tiny",status="OK"}' in metrics.body


def test_pages_of_any_origin_may_call(full_server: Process) -> None:
    """What TF Serving's http_server.cc and AddCORSHeaders send, on errors, too."""
    url = "http://127.0.0.1:" + address_after(full_server, "Exporting HTTP/REST API at:0.0.0.0:")
    tf_serving = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type",
    }
    status = fetch(f"{url}/v1/models/tiny")
    unknown = fetch(f"{url}/v1/models/nosuch:predict", {"instances": [1]})
    options = fetch(f"{url}/v1/models/tiny:predict", method="OPTIONS", Origin="http://page.example")
    nobody = fetch(f"{url}/v1/models/tiny:predict", method="OPTIONS")
    assert [answer.status for answer in (status, unknown, options, nobody)] == [200, 404, 200, 400]
    for answer in (status, unknown, options, nobody):
        assert {name: answer.headers.get(name) for name in tf_serving} == tf_serving
    assert options.body == b""
    preflight = fetch(
        f"{url}/v1/models/tiny:predict",
        method="OPTIONS",
        Origin="http://page.example",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="content-type",
    )
    assert (preflight.status, preflight.body) == (200, b"")
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert preflight.headers["Access-Control-Allow-Methods"] == "POST, GET"
    assert preflight.headers["Access-Control-Allow-Headers"].startswith("Content-Type")


def test_the_configuration_file_is_followed(full_server: Process, full_client: Client, full_folder: Path) -> None:
    def configured() -> set[str]:
        method = full_client.channel.unary_unary(
            f"/{MODEL_MANAGEMENT}/GetConfig", response_deserializer=ModelServerConfig.FromString
        )
        return {each.name for each in method(b"", timeout=30).model_config_list.config}

    assert configured() == {"tiny"}
    write_config(full_folder / "models.config", tiny=ALL + labels(stable=2), other="")
    poll(lambda: configured() == {"tiny", "other"} and answers(full_client, "other"), 30)
    assert full_client.predict(model="other") == (3.0, 1)
    (full_folder / "models.config").write_text("model_config_list {")
    poll(lambda: "Error parsing text-format tensorflow.serving.ModelServerConfig" in full_server.output, 30)
    assert full_client.predict() == (4.0, 2)
    write_config(full_folder / "models.config", tiny=ALL + labels(stable=1))
    poll(lambda: configured() == {"tiny"}, 30)


def test_a_version_replaced_in_place(
    full_client: Client, full_folder: Path, tiny_versions: dict[int, Path], full_server: Process
) -> None:
    for source, answer in ((1, 3.0), (2, 4.0)):
        shutil.rmtree(full_folder / "tiny" / "2")
        shutil.copytree(tiny_versions[source], full_folder / "tiny" / "2")
        poll(lambda answer=answer: full_client.predict() == (answer, 2), 30)


def test_tls_with_client_certificates_and_a_kill(tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    if OPENSSL is None:
        pytest.skip("there is no openssl program to make certificates with")
    authority = Authority(tmp_path / "authority")
    config = tmp_path / "ssl.config"
    config.write_text(ssl_config(*authority.issue("server"), authority.certificate))
    port, rest_port = free_port(), free_port()
    command = flags(tiny_versions[1].parent, port, f"--rest_api_port={rest_port}", f"--ssl_config_file={config}")
    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path), TMPDIR=str(tmp_path)) as server:
        server.wait_until(lambda: "Exporting HTTP/REST API at:" in server.output)
        key, certificate = (text.encode() for text in authority.issue("client"))
        credentials = grpc.ssl_channel_credentials(authority.certificate.encode(), key, certificate)
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            assert health_of(channel, "tiny") == health_pb2.HealthCheckResponse.SERVING
        without = grpc.ssl_channel_credentials(authority.certificate.encode())
        for rejected in (grpc.secure_channel(f"127.0.0.1:{port}", without), grpc.insecure_channel(f"127.0.0.1:{port}")):
            with rejected, pytest.raises(grpc.RpcError) as caught:
                health_of(rejected)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert fetch(f"http://127.0.0.1:{rest_port}/healthz").status == 200, "the gateway needs no certificate"
        server.send(signal.SIGKILL)
        server.wait(30)

        def is_closed() -> bool:
            try:
                return fetch(f"http://127.0.0.1:{rest_port}/healthz").status != 200
            except OSError:
                return True

        poll(is_closed, 30, "the end of the REST worker")


def test_a_model_that_hangs_does_not_delay_the_ports(tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_versions[1], tmp_path / "tiny" / "1")
    (tmp_path / "hangs" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "hangs" / "1" / "saved_model.pb")  # nobody writes to it
    write_config(tmp_path / "models.config", tiny="", hangs="", nowhere="")
    port = free_port()
    command = python_module("wsgiapp.modelserver", f"--port={port}", f"--model_config_file={tmp_path}/models.config")
    with Process([*command, "--first_load_seconds=3"], tmp_path / "log", KERAS_HOME=str(tmp_path)) as server:
        server.wait_until(lambda: "serving gRPC" in server.output)
        client = Client(f"127.0.0.1:{port}")
        assert client.predict() == (3.0, 1)
        assert health_of(client.channel, "tiny") == health_pb2.HealthCheckResponse.SERVING
        for service in ("", "hangs", "nowhere"):
            assert health_of(client.channel, service) == health_pb2.HealthCheckResponse.NOT_SERVING
        client.channel.close()
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0, "the load that hangs is left behind"
    with Process(command, tmp_path / "second log", KERAS_HOME=str(tmp_path)) as server:
        server.wait_until(lambda: "loading version 1" in server.output)
        assert "serving gRPC" not in server.output
        server.send(signal.SIGTERM)
        assert server.wait(20) == 0, "SIGTERM during the first load"


def test_a_drain_and_a_second_sigterm(tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    port = free_port()
    command = flags(tiny_versions[1].parent, port, "--drain_seconds=100")
    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path)) as server:
        server.wait_until(lambda: "serving gRPC" in server.output)
        client = Client(f"127.0.0.1:{port}")
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        call = slow_call(client, 300.0)
        server.send(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.wait_until(lambda: "draining" in server.output)
        assert not call.done()
        started = time.monotonic()
        server.send(signal.SIGTERM)
        assert server.wait(10) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 5
        client.channel.close()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "one of --model_config_file and --model_base_path is needed"),
        (["--model_base_path=/x", "--nosuch=1"], 2, "unrecognized arguments"),
        (
            ["--model_base_path=/x", "--enable_serialization_as_tensor_content=perhaps"],
            2,
            "'perhaps' is not true or false",
        ),
        (["--model_base_path=/x", "--operation_libraries={bad}"], 1, "cannot be loaded: "),
        (
            ["--model_base_path=/x", "--batching_parameters_file={bad}"],
            2,
            "batching_parameters_file is set without setting server_options.enable_batching to true",
        ),
        (
            ["--model_base_path=/x", "--enable_batching", "--batching_parameters_file={bad}"],
            1,
            "Invalid protobuf file: '",
        ),
        (
            [
                "--model_base_path=/x",
                "--tensorflow_session_parallelism=1",
                "--tensorflow_intra_op_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            ],
            2,
            "You cannot configure all.",
        ),
        (["--model_config_file={bad}"], 1, "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        (["--model_config_file={twice}"], 1, "Illegal to list model m multiple times in config list"),
    ],
)
def test_what_stops_the_start(tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    files = {name: tmp_path / name for name in ("bad", "twice")}
    files["bad"].write_text("improperly formatted file")
    entry = f'config {{ name: "m" base_path: "{tmp_path}" model_platform: "tensorflow" }}'
    files["twice"].write_text(f"model_config_list {{ {entry} {entry} }}")
    command = python_module("wsgiapp.modelserver", *(argument.format(**files) for argument in arguments))
    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path)) as process:
        assert process.wait() == status
    assert message in process.output
    assert "Traceback" not in process.output


def test_a_port_that_is_taken_is_reported(tiny_server: str, tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    port = int(tiny_server.rpartition(":")[2])
    command = flags(tiny_versions[1].parent, port, "--host=127.0.0.1")
    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path)) as process:
        assert process.wait() == 1
    assert f"model server: Failed to bind to address 127.0.0.1:{port}" in process.output


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the shared data are not here")
def test_tf_serving_s_own_model(tmp_path: Path) -> None:
    port = free_port()
    folder = SHARED_DATA / "tfserving" / "half_plus_two"
    command = python_module(
        "wsgiapp.modelserver",
        f"--port={port}",
        "--model_name=half_plus_two",
        f"--model_base_path={folder}",
        "--enable_serialization_as_tensor_content",
    )
    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path)) as server:
        server.wait_until(lambda: "serving gRPC" in server.output)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = PredictRequest()
            request.model_spec.name = "half_plus_two"
            request.inputs["x"].CopyFrom(encode_tensor(np.array([[1.0], [2.0], [5.0]], np.float32)))
            response = PredictionServiceStub(channel).Predict(request, timeout=30)
    assert response.model_spec.version.value == 124
    assert decode_tensor(response.outputs["y"]).tolist() == [[2.5], [3.0], [4.5]]
    assert response.outputs["y"].tensor_content
