"""The model server as a process: its flags, its calls, its drain."""

import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from support import SHARED_DATA, Process, free_port, poll, python_module
from wsgiapp.codec import decode_tensor, encode_tensor
from wsgiapp.protos import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelServiceStub,
    ModelVersionStatus,
    PredictionServiceStub,
    PredictRequest,
    SignatureDefMap,
    TensorProto,
    types_pb2,
)


class Client:
    """Plain stubs, as any client of TF Serving has them."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.predictions = PredictionServiceStub(self.channel)
        self.models = ModelServiceStub(self.channel)

    def predict(
        self, value: float = 2.0, version: int | None = None, outputs: tuple[str, ...] = ()
    ) -> tuple[float, int]:
        request = PredictRequest(output_filter=outputs)
        request.model_spec.name = "tiny"
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

        slow = PredictRequest()
        slow.model_spec.name, slow.model_spec.signature_name = "tiny", "slow"
        slow.inputs["turns"].CopyFrom(encode_tensor(np.array(600, np.int32)))
        call = client.predictions.Predict.future(slow, timeout=60)
        started = threading.Event()
        call.add_done_callback(lambda _: started.set())
        poll(lambda: not call.done(), 5)
        client.predict()  # the slow call has surely been taken, too
        server.send(signal.SIGTERM)
        assert decode_tensor(call.result(60).outputs["done"]) == 1.0
        assert server.wait(30) == 0
        client.channel.close()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "one of --model_config_file and --model_base_path is needed"),
        (
            ["--model_base_path=/x", "--enable_serialization_as_tensor_content=perhaps"],
            2,
            "'perhaps' is not true or false",
        ),
        (["--nosuch=1"], 2, "unrecognized arguments"),
        (["--model_config_file={bad}"], 1, "Error parsing text-format tensorflow.serving.ModelServerConfig"),
    ],
)
def test_what_stops_the_start(tmp_path: Path, arguments: list[str], status: int, message: str) -> None:
    bad = tmp_path / "bad"
    bad.write_text("improperly formatted file")
    command = python_module("wsgiapp.modelserver", *(argument.format(bad=bad) for argument in arguments))
    with Process(command, tmp_path / "log", KERAS_HOME=str(tmp_path)) as process:
        assert process.wait() == status
    assert message in process.output
    assert "Traceback" not in process.output


def test_a_port_that_is_taken_is_said_plainly(tiny_server: str, tiny_versions: dict[int, Path], tmp_path: Path) -> None:
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
