"""gRPC calls against a server of grpcio's, one that a test scripts, and ports where nobody speaks gRPC."""

import json
import random
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import grpc
import pytest
from gevent.server import StreamServer
from hpack import Encoder

from support.processes import SUPPORT, Process, free_port, poll
from support.raw_server import DO, ECHO, RawServer
from wsgiapp.backend import channel as channel_module
from wsgiapp.backend.channel import (
    CODE_BY_HTTP_STATUS,
    CODE_BY_STATUS,
    RECONNECT_PAUSE_SECONDS,
    CallError,
    Channel,
    Code,
)
from wsgiapp.backend.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS

LIMIT = 8.0
MESSAGE_BYTES = 2**26
ANYBODY = b"somebody's message"


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer() as made:
        yield made


@pytest.fixture
def channel(server: RawServer) -> Iterator[Channel]:
    with channel_to(server.address) as made:
        yield made


@contextmanager
def channel_to(address: str, message_bytes: int = MESSAGE_BYTES) -> Iterator[Channel]:
    made = Channel(address, message_bytes)
    yield made
    made.close()


def echo(channel: Channel, message: bytes = ANYBODY, seconds: float = LIMIT) -> bytes:
    return channel.call(ECHO, message, time.monotonic() + seconds)


def do(channel: Channel, seconds: float = LIMIT, **orders: Any) -> bytes:
    return channel.call(DO, json.dumps(orders).encode(), time.monotonic() + seconds)


def outcome(call: Callable[..., bytes], *arguments: Any, **more: Any) -> bytes | Code:
    """What a call answers, or its code."""
    try:
        return call(*arguments, **more)
    except CallError as exc:
        return exc.code


def answers(channel: Channel) -> bool:
    return outcome(echo, channel, seconds=1) == ANYBODY


@contextmanager
def loop_rounds() -> Iterator[list[None]]:
    """A list that grows by one item with each round of the event loop."""
    rounds: list[None] = []
    watcher = gevent.get_hub().loop.prepare()
    watcher.start(rounds.append, None)
    yield rounds
    watcher.close()


def streams(channel: Channel) -> int:
    """Calls of this thread that are under way, for all the channel knows."""
    connection = channel._link()._connection
    return 0 if connection is None else len(connection._streams) + len(connection._unopened)


# Messages.


@pytest.mark.parametrize("size", [0, 1, 4, 5, 16_379, 16_384, 65_530, 65_535, 65_536, 300_000, 2**22])
def test_messages_of_any_size(channel: Channel, size: int) -> None:
    message = random.Random(size).randbytes(size)
    assert echo(channel, message) == message


def test_the_largest_message_both_ways_and_one_that_is_larger(channel: Channel) -> None:
    message = random.Random(1).randbytes(2**20) * (MESSAGE_BYTES // 2**20)
    assert echo(channel, message) == message
    with pytest.raises(CallError, match=f"the request has {MESSAGE_BYTES + 1} bytes, more than the limit of") as caught:
        echo(channel, message + b"x")
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    with pytest.raises(CallError, match="the answer has more than") as caught:
        do(channel, size=MESSAGE_BYTES + 1)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert echo(channel) == ANYBODY


def test_a_server_that_takes_less() -> None:
    with (
        RawServer(options={"grpc.max_receive_message_length": 1000}) as server,
        channel_to(server.address) as channel,
    ):
        for size in (1001, 2**22):
            with pytest.raises(CallError, match="larger than max") as caught:
                echo(channel, bytes(size))
            assert caught.value.code is Code.RESOURCE_EXHAUSTED
            assert echo(channel) == ANYBODY


def test_a_server_with_tiny_windows_and_frames() -> None:
    options = {"grpc.http2.lookahead_bytes": 100, "grpc.http2.bdp_probe": 0, "grpc.http2.max_frame_size": 16_384}
    with RawServer(options=options) as server, channel_to(server.address) as channel:
        message = random.Random(2).randbytes(10**6)
        callers = [gevent.spawn(echo, channel, message[i:]) for i in range(4)]
        small = [gevent.spawn(echo, channel) for _ in range(4)]
        assert [caller.get(timeout=LIMIT) for caller in callers] == [message[i:] for i in range(4)]
        assert [caller.get(timeout=LIMIT) for caller in small] == [ANYBODY] * 4


def test_a_server_that_compresses_unasked() -> None:
    with RawServer(compression=grpc.Compression.Gzip) as server, channel_to(server.address) as channel:
        with pytest.raises(CallError, match="compressed, which it was not allowed to be") as caught:
            echo(channel, bytes(10_000))
        assert caught.value.code is Code.INTERNAL


@pytest.mark.parametrize("address", ["[::1]:0", "localhost:0", "unix:", "unix://"])
def test_addresses(tmp_path: Path, address: str) -> None:
    if address.startswith("unix:"):
        address += f"{tmp_path}/socket"
    if "::1" in address and not _has_ipv6():
        pytest.skip("there is no IPv6 here")
    with RawServer(address) as server, channel_to(server.address) as channel:
        assert echo(channel) == ANYBODY


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


# Errors that a server says.


@pytest.mark.parametrize("code", set(Code) - {Code.OK}, ids=lambda code: code.name)
def test_codes_and_details(channel: Channel, code: Code) -> None:
    details = f"{code.name}: 100 % of “形状”\n\tare wrong: %20 \N{GRINNING FACE}"
    with pytest.raises(CallError) as caught:
        do(channel, code=code.value, details=details)
    assert (caught.value.code, caught.value.details) == (code, details)
    assert str(caught.value) == f"{code.name}: {details}"


def test_long_details(channel: Channel) -> None:
    with pytest.raises(CallError) as caught:
        do(channel, code=3, details="形" * 4000)
    assert caught.value.details == "形" * 4000
    with pytest.raises(CallError, match="more than 65536 bytes of headers") as caught:
        do(channel, code=3, details="x" * 70_000)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_a_method_that_fails_or_is_none(channel: Channel, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome(channel.call, DO, b"no JSON", time.monotonic() + LIMIT) is Code.UNKNOWN
    assert outcome(channel.call, "/test.Raw/Nothing", b"", time.monotonic() + LIMIT) is Code.UNIMPLEMENTED
    assert outcome(channel.call, "/nosuch.Service/Do", b"", time.monotonic() + LIMIT) is Code.UNIMPLEMENTED


Block = Mapping[str, str]
GRPC = {":status": "200", "content-type": "application/grpc"}
MESSAGE = b"\0\0\0\0\4four"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">L", stream) + payload


def _scripted(headers: Block, body: bytes, trailers: Block) -> Callable[[socket.socket, Any], None]:
    """A server that answers the first request of each connection so."""

    def block(fields: Block) -> bytes:
        encoder = Encoder()
        encoder.header_table_size = 0
        return encoder.encode(list(fields.items()), huffman=False)

    def handle(connection: socket.socket, address: Any) -> None:
        connection.sendall(_frame(SETTINGS, 0, 0, b""))
        heard = b""
        while ECHO.encode() not in heard or not heard.endswith(bytes(5)):  # an empty message
            heard += connection.recv(2**16)
        ends = END_HEADERS | END_STREAM
        connection.sendall(
            _frame(HEADERS, END_HEADERS if trailers else ends, 1, block(headers))
            + (_frame(DATA, 0, 1, body) if body else b"")
            + (_frame(HEADERS, ends, 1, block(trailers)) if trailers else b"")
        )
        while connection.recv(2**16):
            pass

    return handle


@contextmanager
def handled_by(handle: Callable[[socket.socket, Any], None]) -> Iterator[Channel]:
    server = StreamServer(("127.0.0.1", 0), handle)
    server.start()
    with channel_to(f"127.0.0.1:{server.server_port}") as channel:
        yield channel
    server.stop(timeout=0.1)


@pytest.mark.parametrize(
    ("headers", "body", "trailers", "code", "details"),
    [
        ({**GRPC, "grpc-status": "5", "grpc-message": "none"}, b"", {}, Code.NOT_FOUND, "none"),
        (GRPC, b"", {"grpc-status": "3", "grpc-message": "%E5%BD%A2%zz%"}, Code.INVALID_ARGUMENT, "形%zz%"),
        (GRPC, b"", {"grpc-status": "3", "grpc-message": "a%ff%FEb"}, Code.INVALID_ARGUMENT, "a\ufffd\ufffdb"),
        (GRPC, b"", {"grpc-status": "3"}, Code.INVALID_ARGUMENT, ""),
        (GRPC, MESSAGE, {"grpc-status": "13", "grpc-message": "late"}, Code.INTERNAL, "late"),
        *[
            (GRPC, MESSAGE, {"grpc-status": status, "grpc-message": "?"}, Code.UNKNOWN, f"with the status '{status}'")
            for status in ("17", "99", "00", "-1", "x", "²", "3.0")
        ],
        (GRPC, MESSAGE, {"x": "y"}, Code.UNKNOWN, "with the status ''"),
        (GRPC, b"", {}, Code.UNKNOWN, "with the status ''"),
        ({":status": "200", "content-type": "text/html"}, b"<html>", {"x": "y"}, Code.UNKNOWN, "with the status ''"),
        *[
            ({":status": status}, b"<html>", {"x": "y"}, code, f"HTTP {status}: not a gRPC server")
            for status, code in {**CODE_BY_HTTP_STATUS, "500": Code.UNKNOWN, "302": Code.UNKNOWN}.items()
        ],
        ({":status": "503", "grpc-status": "7", "grpc-message": "no"}, b"", {}, Code.PERMISSION_DENIED, "no"),
        (GRPC, b"", {"grpc-status": "0"}, Code.INTERNAL, "is not one message"),
        (GRPC, MESSAGE[:-1], {"grpc-status": "0"}, Code.INTERNAL, "is not one message"),
        (GRPC, MESSAGE[:4], {"grpc-status": "0"}, Code.INTERNAL, "is not one message"),
        (GRPC, MESSAGE * 2, {"grpc-status": "0"}, Code.INTERNAL, "is not one message"),
        (GRPC, b"\1" + MESSAGE[1:], {"grpc-status": "0"}, Code.INTERNAL, "is compressed"),
    ],
)
def test_answers_that_are_errors(headers: Block, body: bytes, trailers: Block, code: Code, details: str) -> None:
    with handled_by(_scripted(headers, body, trailers)) as channel:
        with pytest.raises(CallError) as caught:
            channel.call(ECHO, b"", time.monotonic() + LIMIT)
        assert caught.value.code is code
        assert details in caught.value.details


def test_an_answer_that_is_none() -> None:
    with handled_by(_scripted(GRPC, MESSAGE, {"grpc-status": "0"})) as channel:
        assert channel.call(ECHO, b"", time.monotonic() + LIMIT) == b"four"


def test_every_code_has_a_number_as_servers_say_it() -> None:
    assert {str(number): Code(number) for number in range(17)} == CODE_BY_STATUS


@pytest.mark.parametrize(("number", "code"), [(0, 13), (2, 13), (8, 1), (11, 8), (12, 7), (999, 13)])
def test_a_stream_that_is_reset(number: int, code: int) -> None:
    def handle(connection: socket.socket, address: Any) -> None:
        connection.sendall(_frame(SETTINGS, 0, 0, b""))
        heard = b""
        while ECHO.encode() not in heard:
            heard += connection.recv(2**16)
        connection.sendall(_frame(RST_STREAM, 0, 1, struct.pack(">L", number)))
        connection.recv(2**16)

    with handled_by(handle) as channel:
        with pytest.raises(CallError, match=f"reset the stream with error code {number:#x}") as caught:
            echo(channel)
        assert caught.value.code == code


# Ports where nobody speaks gRPC.


@pytest.mark.parametrize(
    ("words", "details"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "the first frame is not SETTINGS"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "the server closed the connection|reset by peer"),  # TLS
        (b"", "the server closed the connection|reset by peer"),
        (random.Random(3).randbytes(5000), "protocol error"),
    ],
)
def test_a_server_of_another_kind(words: bytes, details: str) -> None:
    def handle(connection: socket.socket, address: Any) -> None:
        connection.recv(2**16)
        connection.sendall(words)

    with handled_by(handle) as channel:
        for _ in range(3):
            with pytest.raises(CallError, match=details) as caught:
                echo(channel)
            assert caught.value.code is Code.UNAVAILABLE
            assert caught.value.details.startswith("127.0.0.1:"), "whose fault it is"


def test_nobody_is_there(tmp_path: Path) -> None:
    for address, details in {
        f"127.0.0.1:{free_port()}": "Connection refused",
        f"unix:{tmp_path}/none": "No such file",
        f"{'a' * 64}.example:1": "too long",
    }.items():
        with channel_to(address) as channel:
            with pytest.raises(CallError, match=details) as caught:
                echo(channel)
            assert caught.value.code is Code.UNAVAILABLE
            assert caught.value.details.startswith(f"{address}: ")


def test_a_name_that_nobody_has() -> None:
    with channel_to("nosuch.invalid:8500") as channel:  # a resolver may take its time to say so
        started = time.monotonic()
        assert outcome(echo, channel, seconds=2) in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
        assert time.monotonic() - started < 10


def test_a_server_that_says_nothing_costs_the_deadline_and_the_loop_sleeps_until_then() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        channel_to(f"127.0.0.1:{silent.getsockname()[1]}") as channel,
        loop_rounds() as rounds,
    ):
        started = time.monotonic()
        callers = [gevent.spawn(outcome, echo, channel, bytes(10**5), seconds=0.4) for _ in range(20)]
        assert {caller.get(timeout=LIMIT) for caller in callers} == {Code.DEADLINE_EXCEEDED}
        assert 0.4 <= time.monotonic() - started < 10
        assert len(rounds) < 200  # a loop that spins comes to tens of thousands
        assert not streams(channel)


# Connecting.


class Connecting:
    """Counts attempts to connect, which take `seconds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.attempts: list[float] = []
        real = channel_module._connected

        def connected(address: str) -> socket.socket:
            self.attempts.append(time.monotonic())
            gevent.sleep(seconds)
            return real(address)

        monkeypatch.setattr(channel_module, "_connected", connected)


def test_callers_share_an_attempt_which_outlives_those_that_give_up(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting = Connecting(monkeypatch, 1.0)
    started = time.monotonic()
    short = gevent.spawn(outcome, echo, channel, seconds=0.05)
    killed = gevent.spawn(echo, channel)
    callers = [gevent.spawn(echo, channel) for _ in range(10)]
    gevent.sleep(0)
    killed.kill(timeout=LIMIT)
    assert short.get(timeout=LIMIT) is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 1.0
    assert [caller.get(timeout=LIMIT) for caller in callers] == [ANYBODY] * 10
    assert len(connecting.attempts) == 1
    assert not streams(channel)


def test_attempts_are_no_more_frequent_than_need_be(monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = Connecting(monkeypatch)

    def hang_up(connection: socket.socket, address: Any) -> None:
        connection.close()

    with handled_by(hang_up) as hung_up, channel_to(f"127.0.0.1:{free_port()}") as unreachable:
        for channel in (hung_up, unreachable):
            connecting.attempts.clear()
            started = time.monotonic()
            while time.monotonic() - started < 3.5 * RECONNECT_PAUSE_SECONDS:
                codes = [gevent.spawn(outcome, echo, channel) for _ in range(5)]
                assert {code.get(timeout=LIMIT) for code in codes} == {Code.UNAVAILABLE}
                gevent.sleep(0.001)
            pauses = [
                later - earlier for earlier, later in zip(connecting.attempts, connecting.attempts[1:], strict=False)
            ]
            assert pauses and min(pauses) >= RECONNECT_PAUSE_SECONDS


def test_an_attempt_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a name has several addresses: gevent tries the next one after any `OSError`."""
    monkeypatch.setattr(channel_module, "CONNECT_SECONDS", 0.1)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()), channel_to(f"127.0.0.1:{full.getsockname()[1]}") as channel:
            with pytest.raises(CallError, match="no connection within") as caught:
                echo(channel)
            assert caught.value.code is Code.UNAVAILABLE


def test_a_channel_is_closed_while_it_connects(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    Connecting(monkeypatch, LIMIT)
    callers = [gevent.spawn(outcome, echo, channel) for _ in range(3)]
    gevent.sleep(0.01)
    channel.close()
    assert [caller.get(timeout=5) for caller in callers] == [Code.CANCELLED] * 3
    assert outcome(echo, channel) is Code.CANCELLED


def test_no_child_inherits_the_connection(channel: Channel) -> None:
    assert echo(channel) == ANYBODY
    connection = channel._link()._connection
    assert connection is not None and not connection._socket.get_inheritable()


# Deadlines, and callers that are cancelled.


def test_a_deadline_passes_on_both_sides(server: RawServer, channel: Channel) -> None:
    quick = gevent.spawn(do, channel, sleep=0.2, size=3)
    started = time.monotonic()
    for _ in range(5):
        with pytest.raises(CallError, match="no answer before the deadline") as caught:
            do(channel, sleep=1, seconds=0.05)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert 0.25 <= time.monotonic() - started < 10
    poll(lambda: server.active <= 1, 0.9, "the end of the calls at the server")
    assert quick.get(timeout=LIMIT) == bytes(3)
    assert not streams(channel)


@pytest.mark.parametrize("killed", [True, False])
def test_a_caller_that_is_cancelled_ends_its_call_at_the_server(
    server: RawServer, channel: Channel, killed: bool
) -> None:
    poll(lambda: not server.active)
    caller = gevent.spawn(_within, 0.05, channel, killed)
    while not server.active:
        gevent.sleep(0.001)
    if killed:
        caller.kill(timeout=LIMIT)
    caller.join(LIMIT)
    poll(lambda: not server.active, 0.9, "the end of the call at the server")
    assert echo(channel) == ANYBODY
    assert not streams(channel)


def _within(seconds: float, channel: Channel, killed: bool) -> None:
    with gevent.Timeout(None if killed else seconds, False):
        do(channel, sleep=1)
        raise AssertionError("it was answered")


def test_deadlines_of_any_length(channel: Channel) -> None:
    for seconds, known in ((5.0, 5.0), (3600.0, 3600.0), (1e9, 99_999.999), (float("inf"), 99_999.999)):
        assert known - 4 < json.loads(do(channel, seconds))["seconds"] <= known + 0.01
    for seconds in (1e-5, 0.0, -1.0):
        assert outcome(do, channel, seconds, sleep=0.2) is Code.DEADLINE_EXCEEDED


def test_a_server_that_is_quicker_to_see_a_deadline_pass() -> None:
    def handle(connection: socket.socket, address: Any) -> None:
        connection.sendall(_frame(SETTINGS, 0, 0, b""))
        heard = b""
        while ECHO.encode() not in heard:
            heard += connection.recv(2**16)
        time.sleep(0.1)  # so that the loop finds both at once: the passed deadline, and the server's reset
        connection.sendall(_frame(RST_STREAM, 0, 1, struct.pack(">L", 8)))
        connection.recv(2**16)

    with handled_by(handle) as channel:
        assert outcome(echo, channel, seconds=0.05) is Code.DEADLINE_EXCEEDED


# Limits, and servers that go and come.


def test_a_server_that_takes_one_call_at_a_time() -> None:
    with (
        RawServer(options={"grpc.max_concurrent_streams": 1}) as server,
        channel_to(server.address) as channel,
    ):
        callers = [gevent.spawn(echo, channel, str(i).encode()) for i in range(100)]
        assert [caller.get(timeout=LIMIT) for caller in callers] == [str(i).encode() for i in range(100)]
        slow = gevent.spawn(do, channel, sleep=1, size=3)
        gevent.sleep(0)
        started = time.monotonic()
        assert outcome(echo, channel, seconds=0.05) is Code.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 1
        assert slow.get(timeout=LIMIT) == bytes(3)
        assert echo(channel) == ANYBODY


@pytest.mark.parametrize("more", [{}, {"grpc.max_concurrent_streams": 2}], ids=["any calls", "two calls at a time"])
def test_connections_of_a_limited_age_cost_no_call(more: Mapping[str, int]) -> None:
    options = {"grpc.max_connection_age_ms": 300, "grpc.max_connection_age_grace_ms": 5000, **more}
    with RawServer(options=options) as server, channel_to(server.address) as channel:
        peers: Counter[str] = Counter()

        def ask() -> None:
            while len(peers) < 4:
                peers[json.loads(do(channel, sleep=random.Random(len(peers)).random() / 50))["peer"]] += 1

        callers = [gevent.spawn(ask) for _ in range(5)]
        gevent.joinall(callers, timeout=LIMIT, raise_error=True)
        assert len(peers) >= 4 and sum(peers.values()) > 20


def test_a_server_that_stops_answers_what_it_has_and_is_used_again_when_it_is_back() -> None:
    address = f"127.0.0.1:{free_port()}"
    with channel_to(address) as channel:
        for _ in range(2):
            with RawServer(address) as server:
                while not answers(channel):
                    gevent.sleep(0.01)
                slow = gevent.spawn(do, channel, sleep=0.1, size=3)
                while not server.active:
                    gevent.sleep(0.001)
                stopped = server.server.stop(LIMIT)
                assert slow.get(timeout=LIMIT) == bytes(3)
                stopped.wait()
            assert outcome(echo, channel) is Code.UNAVAILABLE


def test_a_server_that_is_stopped_goes_on_or_is_killed(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, str(SUPPORT / "raw_server.py"), str(port)]
    with Process(command, tmp_path / "log") as process, channel_to(f"127.0.0.1:{port}") as channel:
        process.wait_until(lambda: answers(channel))
        process.send(signal.SIGSTOP)
        try:
            started = time.monotonic()
            callers = [gevent.spawn(outcome, echo, channel, bytes(10**6), seconds=0.2) for _ in range(20)]
            assert {caller.get(timeout=LIMIT) for caller in callers} == {Code.DEADLINE_EXCEEDED}
            assert time.monotonic() - started < 10
            assert not streams(channel)
        finally:
            process.send(signal.SIGCONT)
        process.wait_until(lambda: answers(channel))
        slow = gevent.spawn(outcome, do, channel, sleep=LIMIT)
        gevent.sleep(0.05)
        process.send(signal.SIGKILL)
        assert slow.get(timeout=5) is Code.UNAVAILABLE
        assert outcome(echo, channel) is Code.UNAVAILABLE
        process.wait()


def test_a_channel_is_closed_under_its_callers(server: RawServer) -> None:
    with channel_to(server.address) as channel:
        assert echo(channel) == ANYBODY
        callers = [gevent.spawn(outcome, do, channel, sleep=1) for _ in range(3)]
        gevent.sleep(0.01)
        channel.close()
        channel.close()
        assert [caller.get(timeout=0.9) for caller in callers] == [Code.CANCELLED] * 3
        assert outcome(echo, channel) is Code.CANCELLED


# Threads.


def test_a_channel_is_closed_while_another_thread_calls(server: RawServer) -> None:
    channel = Channel(server.address, MESSAGE_BYTES)
    results: list[bytes | Code] = []

    def ask() -> None:
        results.append(outcome(do, channel, sleep=1, size=3))
        results.append(outcome(echo, channel))

    poll(lambda: not server.active)
    thread = threading.Thread(target=ask)
    thread.start()
    poll(lambda: server.active)
    channel.close()
    thread.join(LIMIT)
    assert results == [bytes(3), Code.CANCELLED]


def run_python(code: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_a_threads_connection_ends_with_the_thread(server: RawServer) -> None:
    code = """
        import os, sys, threading, time
        from wsgiapp.backend.channel import Channel

        channel = Channel(sys.argv[1], 2**20)

        def ask():
            for _ in range(2):
                assert channel.call("/test.Raw/Echo", b"hello", time.monotonic() + 30) == b"hello"

        def links():
            for name in os.listdir("/proc/self/fd"):
                try:
                    yield os.readlink(f"/proc/self/fd/{name}")
                except FileNotFoundError:  # the folder's own
                    pass

        for _ in range(20):
            threads = [threading.Thread(target=ask) for _ in range(10)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
        ask()
        print(sum(link.startswith("socket:") for link in links()))
    """
    assert run_python(code, server.address) == "1\n"


def test_greenlets_share_a_connection_also_where_gevent_has_patched_threads(server: RawServer) -> None:
    code = """
        from gevent import monkey
        monkey.patch_all()
        import json, sys, threading, time
        from wsgiapp.backend.channel import Channel

        channel = Channel(sys.argv[1], 2**20)
        peers = set()

        def ask():
            peers.add(json.loads(channel.call("/test.Raw/Do", b"{}", time.monotonic() + 30))["peer"])

        threads = [threading.Thread(target=ask) for _ in range(10)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(len(peers))
    """
    assert run_python(code, server.address) == "1\n"


# Everything at once.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grpc.max_concurrent_streams": 7},
        {"grpc.max_connection_age_ms": 200, "grpc.max_connection_age_grace_ms": 20},
    ],
    ids=str,
)
def test_every_caller_gets_its_own_answer_or_error(options: Mapping[str, int]) -> None:
    """Random sizes, delays, deadlines and kills, and connections that end in between."""
    chance = random.Random(4)
    with RawServer(options=options) as server, channel_to(server.address) as channel:
        counts: Counter[str] = Counter()

        def ask(i: int) -> None:
            own = random.Random(i)
            seconds = own.choice([0.003, 0.03, LIMIT, LIMIT])
            started = time.monotonic()
            try:
                if own.random() < 0.7:
                    message = own.randbytes(own.choice([0, 10, 1000, 70_000, 300_000]))
                    assert echo(channel, message, seconds) == message
                else:
                    size = own.randrange(200_000)
                    assert do(channel, seconds, sleep=own.random() / 30, size=size) == bytes(size)
                counts["answers"] += 1
            except CallError as exc:
                early = time.monotonic() - started < seconds
                counts[f"{exc.code.name}{' too early' if early and exc.code is Code.DEADLINE_EXCEEDED else ''}"] += 1
            except gevent.GreenletExit:
                counts["killed"] += 1
                raise

        callers = []
        for i in range(250):
            callers.append(gevent.spawn(ask, i))
            if chance.random() < 0.3:
                chance.choice(callers).kill(block=False)
            if chance.random() < 0.2:
                gevent.sleep(chance.random() / 100)
        gevent.joinall(callers, timeout=LIMIT, raise_error=True)
        assert all(caller.ready() for caller in callers)
        assert not streams(channel)
        known = {"answers", "DEADLINE_EXCEEDED", "killed", *(["UNAVAILABLE"] if len(options) == 2 else [])}
        assert counts["answers"] > 50 and counts["DEADLINE_EXCEEDED"] and counts["killed"] and set(counts) <= known
        poll(lambda: answers(channel), LIMIT)
        poll(lambda: not server.active, LIMIT, "the end of all calls at the server")
