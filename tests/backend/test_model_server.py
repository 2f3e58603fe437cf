"""The client against a real model server, one that is not there, and one that hangs."""

import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import grpc
import numpy as np
import pytest
from gevent.pool import Pool
from gevent.server import StreamServer

from support.processes import Process, free_port, poll, python_module
from wsgiapp.backend.channel import CallError, Code
from wsgiapp.backend.interface import Target
from wsgiapp.backend.model_server import ERROR_BY_CODE, ModelServer
from wsgiapp.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    NotFound,
    RequestError,
    Unavailable,
    Unreachable,
)
from wsgiapp.tfserving.messages import ModelVersionStatus, PredictResponse

X = np.array([[2.0], [4.0]], np.float32)


@pytest.fixture
def client(tiny_server: str) -> Iterator[ModelServer]:
    yield from connected(tiny_server)


def connected(address: str) -> Iterator[ModelServer]:
    made = ModelServer(address, message_bytes=2**24)
    yield made
    made.close()


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def test_the_table_knows_every_grpc_code() -> None:
    assert set(ERROR_BY_CODE) == set(Code) - {Code.OK}


def test_predictions(client: ModelServer) -> None:
    outputs, version = client.predict(Target("tiny"), {"x": X}, soon())
    np.testing.assert_allclose(outputs["y"], [[4.0], [5.0]])
    assert version == 2
    outputs, version = client.predict(Target("tiny", version=1), {"x": X}, soon())
    np.testing.assert_allclose(outputs["y"], [[3.0], [4.0]])
    assert version == 1
    assert client.predict(Target("tiny", label="stable"), {"x": X}, soon())[1] == 1


def test_strings(client: ModelServer) -> None:
    words = np.array([["中文".encode(), b""], [b"a", b"\xff\0"]], dtype=object)
    outputs, _ = client.predict(Target("tiny", "echo"), {"words": words}, soon())
    assert outputs["words"].tolist() == words.tolist()
    assert outputs["length"].tolist() == [[6, 0], [1, 2]]


@pytest.mark.parametrize(
    ("target", "inputs", "error", "message"),
    [
        (Target("nosuch"), {"x": X}, NotFound, r"Servable not found for request: Latest\(nosuch\)"),
        (Target("tiny", version=7), {"x": X}, NotFound, r"Servable not found for request: Specific\(tiny, 7\)"),
        (Target("tiny", label="x"), {"x": X}, InvalidArgument, "Unrecognized servable version label: x"),
        (Target("tiny", "x"), {"x": X}, InvalidArgument, 'Serving signature key "x" not found.'),
        (Target("tiny"), {"z": X}, InvalidArgument, "Signature input alias: x.feed name: "),
        (
            Target("tiny"),
            {"x": X.astype(np.int32)},
            InvalidArgument,
            "to be float but int32 is provided .input x.",
        ),
        (Target("tiny"), {"x": X.reshape(1, 2, 1, 1)[..., 0].repeat(3, 2)}, RequestError, "."),
    ],
)
def test_errors_keep_the_model_server_s_words(
    client: ModelServer, target: Target, inputs: dict[str, np.ndarray], error: type[Exception], message: str
) -> None:
    if message == ".":  # a shape the graph does not reject is answered, not failed
        assert client.predict(target, inputs, soon())[0]["y"].shape == (1, 2, 3)
        return
    with pytest.raises(error, match=message):
        client.predict(target, inputs, soon())


def test_status(client: ModelServer) -> None:
    statuses = client.status(Target("tiny"), soon())
    assert [(each.version, each.state) for each in statuses] == [
        (2, ModelVersionStatus.AVAILABLE),
        (1, ModelVersionStatus.AVAILABLE),
    ]
    assert [each.version for each in client.status(Target("tiny", label="stable"), soon())] == [1]
    with pytest.raises(NotFound, match="nosuch"):
        client.status(Target("nosuch"), soon())


def test_greenlets_share_the_channel_and_get_their_own_answers(client: ModelServer) -> None:
    def ask(i: int) -> float:
        return float(client.predict(Target("tiny"), {"x": np.array([[i]], np.float32)}, soon())[0]["y"][0, 0])

    greenlets = [gevent.spawn(ask, i) for i in range(300)]
    gevent.joinall(greenlets, raise_error=True)
    assert [greenlet.value for greenlet in greenlets] == [i / 2 + 3 for i in range(300)]


def test_the_loop_turns_while_a_call_is_under_way(client: ModelServer) -> None:
    client.predict(Target("tiny", "slow"), {"turns": np.array(1, np.int32)}, soon())
    ticks = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.005)

    clock = gevent.spawn(tick)
    started = time.monotonic()
    client.predict(Target("tiny", "slow"), {"turns": np.array(300, np.int32)}, soon())
    seconds = time.monotonic() - started
    clock.kill()
    assert seconds > 0.05, "too quick to show anything"
    assert len(ticks) > 5


def test_a_caller_that_ends_cancels_its_call_and_harms_no_other(client: ModelServer) -> None:
    slow = gevent.spawn(client.predict, Target("tiny", "slow"), {"turns": np.array(2000, np.int32)}, soon())
    gevent.sleep(0.05)
    slow.kill()
    assert client.predict(Target("tiny"), {"x": X}, soon())[1] == 2


def test_a_deadline_passes(client: ModelServer) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.predict(Target("tiny", "slow"), {"turns": np.array(20_000, np.int32)}, soon(0.3))
    assert time.monotonic() - started < 3
    with pytest.raises(DeadlineExceeded, match="before the model server could be called"):
        client.predict(Target("tiny"), {"x": X}, time.monotonic() - 1)


def test_no_model_server_is_found_out_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    for client in connected(f"127.0.0.1:{free_port()}"):
        for _ in range(3):
            started = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached") as caught:
                client.predict(Target("tiny"), {"x": X}, soon())
            assert time.monotonic() - started < 1
            assert isinstance(caught.value.__cause__, CallError)
    assert "Traceback" not in capfd.readouterr().err


def test_a_model_server_that_hangs_costs_the_deadline_and_no_more() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for client in connected(f"127.0.0.1:{silent.getsockname()[1]}"):
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.predict(Target("tiny"), {"x": X}, soon(0.5))
            assert time.monotonic() - started < 3


@contextmanager
def served(predict: Callable[[bytes, grpc.ServicerContext], bytes]) -> Iterator[ModelServer]:
    """A client of a server whose predictions are a function."""
    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(predict)
    service = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", {"Predict": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield from connected(f"127.0.0.1:{port}")
    finally:
        server.stop(None)


def test_an_answer_that_is_no_message() -> None:
    with (
        served(lambda request, context: b"\xff") as client,
        pytest.raises(InternalError, match="the model server's answer is not a PredictResponse"),
    ):
        client.predict(Target("tiny"), {"x": X}, soon())


def test_what_the_server_itself_calls_unavailable_is_an_answer() -> None:
    calls = []

    def full(request: bytes, context: grpc.ServicerContext) -> bytes:
        calls.append(request)
        context.abort(
            grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
        )

    with served(full) as client, pytest.raises(Unavailable, match=r"^The batch scheduling queue .* is full$") as caught:
        client.predict(Target("tiny"), {"x": X}, soon())
    assert not isinstance(caught.value, Unreachable)
    assert len(calls) == 1


def test_a_call_that_a_draining_server_cancels_is_tried_again() -> None:
    """grpcio's server does so with what comes between its stop and its client's knowing of it."""
    calls = []

    def draining(request: bytes, context: grpc.ServicerContext) -> bytes:
        calls.append(request)
        if len(calls) < 3:
            context.abort(grpc.StatusCode.CANCELLED, "")
        answer = PredictResponse()
        answer.model_spec.version.value = 7
        return answer.SerializeToString()

    with served(draining) as client:
        assert client.predict(Target("tiny"), {"x": X}, soon()) == ({}, 7)
    assert len(calls) == 3


def test_a_model_server_that_comes_back_is_used_again(tiny_versions: dict[int, Path], tmp_path: Path) -> None:
    port = free_port()
    command = python_module(
        "wsgiapp.modelserver",
        f"--port={port}",
        "--model_name=tiny",
        f"--model_base_path={tiny_versions[1].parent}",
    )

    def answers() -> bool:
        try:
            return client.predict(Target("tiny"), {"x": X}, soon(1))[1] == 2
        except Unavailable:
            return False

    def ended(server: Process) -> bool:
        gevent.sleep(0.01)  # as in a worker, the loop turns
        return server.returncode is not None

    for client in connected(f"127.0.0.1:{port}"):  # noqa: B007
        for life in range(2):
            with Process(command, tmp_path / f"log{life}", KERAS_HOME=str(tmp_path)) as server:
                server.wait_until(lambda: "serving gRPC" in server.output)
                poll(answers, 10, "an answer from the model server that came back")
                server.send(signal.SIGTERM)
                poll(lambda: ended(server), 15, "its end, which an idle connection must not put off")
            assert not answers()


@contextmanager
def relay(port: int, address: str) -> Iterator[None]:
    """What connects to `port` reaches `address`, until the `with` block is left."""

    def pump(source: Any, target: Any) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                target.sendall(data)

    def handle(client: Any, _: Any) -> None:
        host, _, number = address.rpartition(":")
        with gevent.socket.create_connection((host, int(number))) as server:
            back = gevent.spawn(pump, server, client)
            pump(client, server)
            back.kill()

    server = StreamServer(("127.0.0.1", port), handle, spawn=Pool())
    server.start()
    yield
    server.stop(timeout=0)


def test_predictions_wait_for_a_model_server_that_restarts(tiny_server: str) -> None:
    """Longer than every call tries; nobody else waits."""
    port = free_port()
    client = ModelServer(f"127.0.0.1:{port}", message_bytes=2**24, reconnect_wait_seconds=60)
    with relay(port, tiny_server):
        client.predict(Target("tiny"), {"x": X}, soon())
    waiting = [gevent.spawn(client.predict, Target("tiny"), {"x": X}, soon()) for _ in range(3)]
    with pytest.raises(Unreachable):
        client.status(Target("tiny"), soon())
    gevent.sleep(0.3)
    assert not any(each.ready() for each in waiting)
    with relay(port, tiny_server):
        assert [each.get(timeout=30)[1] for each in waiting] == [2] * 3
    with pytest.raises(Unreachable):
        client.predict(Target("tiny"), {"x": X}, soon(0.2))
    client.close()


def test_predictions_do_not_wait_for_a_model_server_that_is_away_for_long() -> None:
    client = ModelServer(f"127.0.0.1:{free_port()}", message_bytes=2**24, reconnect_wait_seconds=0.8)
    for min_seconds in (0.8, 0.5):
        started = time.monotonic()
        with pytest.raises(Unreachable):
            client.predict(Target("tiny"), {"x": X}, soon())
        assert min_seconds <= time.monotonic() - started < 20
    client.close()


def test_any_thread_may_call(tiny_server: str) -> None:
    """Under a threaded WSGI server each thread has a loop of its own."""
    code = f"""
        import threading, time, numpy as np
        from wsgiapp.backend.model_server import ModelServer
        from wsgiapp.backend.interface import Target
        client = ModelServer({tiny_server!r}, message_bytes=2**24)
        versions = []
        def ask():
            for _ in range(20):
                x = np.ones((1, 1), np.float32)
                versions.append(client.predict(Target("tiny"), {{"x": x}}, time.monotonic() + 30)[1])
        threads = [threading.Thread(target=ask) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(len(versions), set(versions))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split(maxsplit=1) == ["80", "{2}\n"]
