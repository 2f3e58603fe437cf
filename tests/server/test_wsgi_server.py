"""Real workers on TCP: limits, keep-alive, and a stop that loses nothing."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http_client import Load, fetch, raw_answer
from support.lexicon import give_lexicon
from support.processes import Process, free_port, poll, python_module

TOML = """
[models.tiny]
pipeline = "segmented_text"
signature = "slow"
deadline_seconds = 20
[limits]
request_line_bytes = 20000
[http]
idle_seconds = 2
drain_seconds = 10
"""


class Worker(Process):
    """A worker that listens on TCP by itself."""

    def __init__(self, folder: Path, backend: str, *options: str) -> None:
        (folder / "wsgiapp.toml").write_text(TOML)
        give_lexicon(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.started = time.monotonic()
        super().__init__(
            python_module("wsgiapp.worker", f"--listen=127.0.0.1:{self.port}", *options),
            folder / "log",
            WSGIAPP_CONF=str(folder),
            WSGIAPP_HOME=str(folder),
            WSGIAPP_BACKEND_ADDRESS=backend,
        )
        self.wait_until(lambda: "ready, pid" in self.output)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Worker(tmp_path_factory.mktemp("worker"), f"127.0.0.1:{free_port()}") as started:
        yield started


def test_it_serves_without_tensorflow_and_says_when(worker: Worker) -> None:
    assert fetch(f"{worker.url}/healthz").json == {"status": 0}
    maps = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "tensorflow" not in maps
    ready = list((worker.log.parent / "run").glob("*.ready"))
    assert [path.read_text() for path in ready] == [str(worker.pid)]


def test_keep_alive_answers_are_not_delayed(worker: Worker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
    times = []
    for _ in range(30):
        started = time.monotonic()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":0}\n'
        times.append(time.monotonic() - started)
    connection.close()
    # A delayed acknowledgement would cost 40 ms each time; a busy machine costs that sometimes.
    assert min(times) < 0.03


def test_a_request_line_up_to_the_limit(worker: Worker) -> None:
    just_right = fetch(f"{worker.url}/predict?line={'A' * 19_900}")
    assert just_right.status in (400, 413, 503), "it reached the application"
    too_long = fetch(f"{worker.url}/predict?line={'A' * 200_000}")
    assert too_long.status == 414
    assert too_long.headers["Content-Type"] == "application/problem+json"
    assert too_long.json["status"] == 414 and "POST" in too_long.json["detail"]


def test_under_v1_errors_have_tf_serving_s_form(worker: Worker) -> None:
    too_long = fetch(f"{worker.url}/v1/models/{'A' * 200_000}")
    assert (too_long.status, too_long.headers["Content-Type"]) == (414, "application/json")
    assert "POST" in too_long.json["error"]
    encoded = fetch(f"{worker.url}/v1/models/a%2Fb:explain?c=d", b"{}")
    assert (encoded.status, encoded.json) == (400, {"error": "Malformed request: POST /v1/models/a%2Fb:explain"})


def test_targets_as_proxies_are_sent_them(worker: Worker) -> None:
    """RFC 9112, 3.2.2."""
    for target in ("http://other:1/healthz", "HTTPS://h/healthz?a=/b"):
        assert raw_answer(worker.port, f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")[0] == 200
    head = " HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    status, body = raw_answer(worker.port, "POST http://h/v1/models/a%2Fb:explain?c=d" + head)
    assert (status, body) == (400, {"error": "Malformed request: POST /v1/models/a%2Fb:explain"})
    status, body = raw_answer(worker.port, "GET http://h/v1/models/tiny" + head)
    assert status == 503, "the model server is asked"


def test_http_1_0_needs_no_host(worker: Worker) -> None:
    """HAProxy's and Nagios's health checks send none; HTTP/1.1 without one is rejected (RFC 9112, 3.2)."""
    assert raw_answer(worker.port, "GET /healthz HTTP/1.0\r\n\r\n") == (200, {"status": 0})
    assert raw_answer(worker.port, "GET /nosuch HTTP/1.0\r\n\r\n")[0] == 404
    assert raw_answer(worker.port, "GET /healthz HTTP/1.1\r\n\r\n")[0] == 400


def test_what_is_not_http_is_answered_as_a_problem(worker: Worker) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as client:
        client.sendall(b"GARBAGE\r\n\r\n")
        answer = client.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["status"] == 400


def test_a_body_that_ends_early_is_the_client_s_mistake(worker: Worker) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")


def test_a_rejected_body_does_not_cost_the_connection(worker: Worker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
    for method, path, size, status in (
        ("POST", "/nosuch", 100_000, 404),
        ("PUT", "/predict", 100_000, 405),
        ("POST", "/predict", 20_000_000, 413),
    ):
        connection.request(method, path, b"x" * size, {"Content-Type": "application/json"})
        socket_before = connection.sock
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (status, status)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":0}\n'
        assert connection.sock is socket_before, "on the same connection"
    connection.close()


def test_a_client_that_asks_first_is_spared_a_body_over_the_limit(worker: Worker) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as client:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % 20_000_000)
        assert client.makefile("rb").readline() == b"HTTP/1.1 413 Content Too Large\r\n"


def test_a_chunked_body_reaches_the_application(worker: Worker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
    for body, detail in (([b'{"li', b'nes": [3]', b"}"], "lines[0]: not a text"), ([b"{", b"]"], "body: not JSON")):
        connection.request("POST", "/predict", iter(body), {"Content-Type": "application/json"}, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 400 and detail in json.loads(answer.read())["detail"]
    connection.close()


def test_a_chunked_body_over_the_limit(worker: Worker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        for megabytes in (16, 17):  # the limit, which is neither, and more
            body = iter([b"x" * 2**20] * megabytes)
            connection.request("POST", "/predict", body, {"Content-Type": kind}, encode_chunked=True)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == (400 if megabytes == 16 else 413), kind
    connection.close()


def test_head(worker: Worker) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
    for path, status in (("/healthz", 200), ("/nosuch", 404)):
        lengths = []
        for method in ("GET", "HEAD"):
            connection.request(method, path, headers={"X-Request-ID": "same"})
            answer = connection.getresponse()
            assert answer.status == status
            assert (answer.read() == b"") == (method == "HEAD")
            lengths.append(answer.getheader("Content-Length"))
        assert lengths[0] == lengths[1]
    connection.close()


def test_silent_connections_are_closed(worker: Worker) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), timeout=20) as client:
        assert client.recv(1) == b""
    with socket.create_connection(("127.0.0.1", worker.port), timeout=20) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert client.makefile("rb").readline().startswith(b"HTTP/1.1 408 ")


def test_a_drain_finishes_what_is_in_flight_and_closes_what_is_idle(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a model server that keeps requests in flight
        worker = Worker(tmp_path, f"127.0.0.1:{silent.getsockname()[1]}")
        with worker, socket.create_connection(("127.0.0.1", worker.port)) as idle:
            idle.settimeout(10)
            busy = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=30)
            busy.request("GET", "/readyz")  # waits a second for the model server
            poll(lambda: connections(worker.pid) >= 2, 10)
            worker.send(signal.SIGTERM)
            assert idle.recv(1) == b"", "an idle connection stays open"
            answer = busy.getresponse()
            assert answer.status == 503 and "not ready" in json.loads(answer.read())["detail"]
            assert answer.getheader("Connection") == "close"
            assert worker.wait(20) == 0
    assert "drained, 0 connections aborted" in worker.output
    assert not list((tmp_path / "run").glob("*.ready"))


def connections(pid: int) -> int:
    """How many sockets a process has open besides the listening one."""
    return sum(os.readlink(entry).startswith("socket:") for entry in Path(f"/proc/{pid}/fd").iterdir()) - 1


def test_a_drain_under_load_breaks_no_answer(tmp_path: Path) -> None:
    worker = Worker(tmp_path, f"127.0.0.1:{free_port()}")
    with worker:
        load = Load(f"{worker.url}/healthz?", lambda body: body == b'{"status":0}\n')
        with load:
            poll(lambda: load.answered > 200)
            worker.send(signal.SIGTERM)
            assert worker.wait(20) == 0
    broken = [failure for failure in load.failures if "refused" not in failure.lower()]
    # A client may have written its next request into a connection that closes; it must see that nothing came back.
    assert all("RemoteDisconnected" in each or "reset" in each.lower() or "pipe" in each.lower() for each in broken), (
        broken[:5]
    )


def connect_to(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(path))
    return client


def test_a_socket_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "own.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(own))
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with Worker(tmp_path, f"127.0.0.1:{free_port()}", f"--socket={own}") as worker:
        assert own.stat().st_mode & 0o777 == 0o660
        assert sorted(path.name for path in tmp_path.glob("own*")) == ["own.sock"]
        with connect_to(own) as client:
            for _ in range(2):
                client.sendall(ask)
                answer = client.recv(1000)
                assert answer.startswith(b"HTTP/1.1 200 OK") and b"Connection: close" not in answer
            with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as common:
                common.sendall(ask)
                assert b"\r\nConnection: close\r\n" in common.recv(1000)
                assert common.recv(1) == b""
            worker.send(signal.SIGTERM)
            assert client.recv(1) == b""
        assert worker.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            connect_to(own)
    assert "drained, 0 connections aborted" in worker.output


def test_a_port_that_is_taken_is_said_plainly(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "wsgiapp.toml").write_text(TOML)
    second = Process(
        python_module("wsgiapp.worker", f"--listen=127.0.0.1:{worker.port}"),
        tmp_path / "log",
        WSGIAPP_CONF=str(tmp_path),
    )
    with second:
        assert second.wait() == 1
    assert second.output.startswith("wsgiapp: ") and "Address already in use" in second.output


def test_a_wrong_setting_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "wsgiapp.toml").write_text('[models.x]\npipeline = "nosuch"\n')
    with Process(
        python_module("wsgiapp.worker", "--listen=127.0.0.1:0"), tmp_path / "log", WSGIAPP_CONF=str(tmp_path)
    ) as process:
        assert process.wait() == 1
    assert 'models.x.pipeline = "nosuch": no such pipeline; installed are saliency, segmented_text' in process.output
    assert "Traceback" not in process.output
