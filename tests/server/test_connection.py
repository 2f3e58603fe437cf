"""Bytes on a connection: requests in every shape that TCP and clients give them, and exactly one answer to each."""

import contextlib
import json
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import pytest

from support.http_client import fetch
from support.processes import SUPPORT, Process, free_port
from wsgiapp.server.connection import MAX_JOINED_BYTES

MAX_FIELD_LINE_BYTES = 20_000  # of echo_server
IDLE_SECONDS = 1.0
HEADER_SECONDS = BODY_SECONDS = 1.5


class EchoServer(Process):
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        program = SUPPORT / "echo_server.py"
        super().__init__([sys.executable, str(program), str(self.port)], folder / "log")
        self.wait_until(lambda: "ready" in self.output)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    with EchoServer(tmp_path_factory.mktemp("echo")) as started:
        yield started


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def path(self) -> str:
        """Of the request that is answered."""
        return str(self.json["path"])


class Client:
    """A connection that is written and read byte by byte, so that nothing is hidden by a client library."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream: BinaryIO = self.socket.makefile("rb")

    def send(self, *parts: bytes, pause: float = 0.0) -> None:
        for part in parts:
            self.socket.sendall(part)
            if pause:
                time.sleep(pause)

    def line(self) -> bytes:
        return self._stream.readline()

    def read(self, has_body: bool = True) -> Answer:
        """One answer; its body is as long as its head says."""
        version, status, _ = self.line().split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers: dict[str, str] = {}
        while (line := self.line()) != b"\r\n":
            name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
            assert name.lower() not in map(str.lower, headers), f"{name} comes twice"
            headers[name] = value
        length = int(headers.get("Content-Length", 0)) if has_body else 0
        body = self._stream.read(length)
        assert len(body) == length
        return Answer(int(status), headers, body)

    def is_closed(self) -> bool:
        """Whether the server has closed, with nothing more to read; else the wait fails the test."""
        return self._stream.read(1) == b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()


@pytest.fixture
def client(server: EchoServer) -> Iterator[Client]:
    with Client(server.port) as connected:
        yield connected


def request(target: str = "/echo", *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: h", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes, trailer: bytes = b"", target: str = "/echo") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request(target, "Transfer-Encoding: chunked", method="POST") + body + b"0\r\n" + trailer + b"\r\n"


def test_what_the_application_is_told(client: Client) -> None:
    client.send(request("/echo?a=%20b", "X-Sent: c", method="POST", body=b"body"))
    told = client.read().json
    assert told["body"] == "body"
    assert (told["REQUEST_METHOD"], told["PATH_INFO"], told["QUERY_STRING"]) == ("POST", "/echo", "a=%20b")
    assert (told["HTTP_X_SENT"], told["CONTENT_LENGTH"], told["HTTP_HOST"]) == ("c", "4", "h")
    assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == ("127.0.0.1", str(client.socket.getsockname()[1]))
    assert told["SERVER_PORT"] == str(client.socket.getpeername()[1]) and told["SERVER_NAME"]
    assert (told["wsgi.url_scheme"], told["wsgi.input_terminated"]) == ("http", True)
    assert (told["wsgi.multiprocess"], told["wsgi.run_once"]) == (True, False)


def test_a_connection_is_kept(client: Client) -> None:
    for i in range(3):
        client.send(request(f"/echo?{i}"))
        answer = client.read()
        assert answer.json["QUERY_STRING"] == str(i)
        assert "Connection" not in answer.headers


def test_requests_in_one_packet_are_answered_in_their_order(client: Client) -> None:
    client.send(
        request("/1")
        + request("/2", method="POST", body=b"GET /not/a/request HTTP/1.1\r\nHost: h\r\n\r\n")
        + chunked(b"GET /nor/this HTTP/1.1\r\nHost: h\r\n\r\n", target="/3")
        + request("/4", "Connection: close")
    )
    assert [client.read().path for _ in range(4)] == ["/1", "/2", "/3", "/4"]
    assert client.is_closed()


def test_a_request_byte_by_byte(client: Client) -> None:
    whole = request("/echo", "X-Sent: slowly", method="POST", body=b"\xff\0body") + chunked(b"a", b"bc")
    client.send(*(whole[i : i + 1] for i in range(len(whole))), pause=0.0005)
    first, second = client.read().json, client.read().json
    assert (first["HTTP_X_SENT"], first["body"]) == ("slowly", "\xff\0body")
    assert second["body"] == "abc"


@pytest.mark.parametrize("seed", range(8))
def test_however_packets_fall_the_answers_are_the_same(server: EchoServer, seed: int) -> None:
    """The same requests, cut anywhere."""
    rng = random.Random(seed)
    whole, sent = b"", []
    for i in range(12):
        body = rng.randbytes(rng.choice([0, 1, 50, 5000]))
        if rng.random() < 0.5:
            cuts = sorted(rng.choices(range(1, len(body) + 1), k=3)) if body else []
            chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
            whole += chunked(*(chunk for chunk in chunks if chunk), target=f"/echo?{i}")
        else:
            whole += request(f"/echo?{i}", method="POST", body=body)
        sent.append((str(i), body.decode("latin-1")))
    cuts = sorted(rng.choices(range(len(whole)), k=20))
    with Client(server.port) as client:
        client.send(*(whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)), pause=0.001)
        answers = [client.read().json for _ in sent]
    assert [(each["QUERY_STRING"], each["body"]) for each in answers] == sent


def test_empty_lines_before_a_request(client: Client) -> None:
    """Old clients end a body with one more line end than they announce (RFC 9112, 2.2)."""
    client.send(request("/1", method="POST", body=b"a") + b"\r\n" + request("/2"))
    assert [client.read().path for _ in range(2)] == ["/1", "/2"]
    client.send(b"\r\n" * 50 + request("/3"))
    assert client.read().status == 400, "one, and no more"


def test_a_client_that_asks_first(client: Client) -> None:
    client.send(request("/echo", "Expect: 100-Continue", "Content-Length: 4", method="POST"))
    assert (client.line(), client.line()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
    client.send(b"body")
    assert client.read().json["body"] == "body"
    client.send(request("/2"))
    assert client.read().path == "/2"


def test_a_client_that_asks_first_and_is_rejected(client: Client) -> None:
    """It gets its answer at once, and not the word to go on; what it sends nevertheless is no request."""
    client.send(request("/ignore", "Expect: 100-continue", "Content-Length: 40", method="POST"))
    assert client.read().path == "/ignore"
    client.send(b"GET /body HTTP/1.1\r\nHost: h\r\n\r\n".ljust(40), request("/2"))
    assert client.read().path == "/2"


def test_http_1_0_is_never_told_to_go_on(client: Client) -> None:
    """RFC 9110, 10.1.1: it would take that for the answer."""
    client.send(request("/echo", "Expect: 100-continue", method="POST", version="1.0", body=b"body"))
    assert client.read().json["body"] == "body"


@pytest.mark.parametrize(
    ("chunks", "trailer", "body"),
    [
        ([b"a"], b"", "a"),
        ([b"a" * 10_000, b"b", b"\r\n0\r\n\r\n"], b"", "a" * 10_000 + "b\r\n0\r\n\r\n"),
        ([], b"", ""),
        ([b"a"], b"X-Sum: 1\r\nX-More: b c\r\n", "a"),
    ],
)
def test_chunked_bodies(client: Client, chunks: list[bytes], trailer: bytes, body: str) -> None:
    client.send(chunked(*chunks, trailer=trailer) + request("/2"))
    told = client.read().json
    assert told["body"] == body and "HTTP_X_SUM" not in told and "CONTENT_LENGTH" not in told
    assert client.read().path == "/2"


def test_extensions_of_chunks_are_skipped(client: Client) -> None:
    head = request("/echo", "Transfer-Encoding: chunked", method="POST")
    client.send(head + b'3;a="b;c";d\r\nabc\r\n0;e\r\n\r\n' + request("/2"))
    assert client.read().json["body"] == "abc"
    assert client.read().path == "/2"


NOT_CHUNKS = [
    b"x\r\n",
    b"\r\n",
    b"-1\r\n",
    b"0x1\r\na\r\n",
    b"1\na\n0\n\n",
    b"1 \r\na\r\n",
    b"1\r\nabc\r\n",
    b"f" * 17 + b"\r\n",
    b"1\r\na\r\n0\r\nb@d: c\r\n",
    b"1;" + b"e" * 9000 + b"\r\n",
    b"1;e\na\r\n0\r\n",
    b"1;e\re\r\na\r\n0\r\n",
    b"1;\x01\r\na\r\n0\r\n",
    b"1\r\r\na\r\n0\r\n",
    b"1\r\na\n0\r\n",
    b"1\r\na\r\n0\r\nb: c\n",
    b"1\r\na\r\n0\r\nb: c\rd: e\r\n",
    b"1\r\na\r\n0\r\nb: c\r\n d: e\r\n",
    b"1\r\na\r\n0\r\nb: \x00\r\n",
    b"1\r\na\r\n0\r\nb\r\n",
    b"1\r\na\r\n0\r\n" + b"b: c\r\n" * 101,
    b"f" * 16 + b"\r\n",
    b"1;" + b"e" * 4000 + b"\r\na\r\n" + (b"1;" + b"e" * 4000 + b"\r\na\r\n") * 4,
    b"1\r\na\r\n" * 10_001,
]


@pytest.mark.parametrize("target", ["/echo", "/ignore"], ids=["read", "unread"])
@pytest.mark.parametrize("body", NOT_CHUNKS, ids=lambda body: repr(body[:25]))
def test_after_what_is_not_chunked_nothing_more_is_read(
    client: Client, server: EchoServer, body: bytes, target: str
) -> None:
    """Nobody knows where that body ends: what follows may be a request that someone hid in it."""
    logged = len(server.output)
    client.send(request(target, "Transfer-Encoding: chunked", method="POST") + body + b"\r\n" + request("/hidden"))
    answer = client.read()
    if target == "/echo":
        assert answer.status == 400 and answer.headers["Connection"] == "close"
    assert client.is_closed()
    assert "Traceback" not in server.output[logged:]


def test_a_head_has_no_body_and_the_length_of_one(client: Client) -> None:
    client.send(request("/ignore") + request("/ignore", method="HEAD") + request("/3"))
    whole, head = client.read(), client.read(has_body=False)
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]
    assert client.read().path == "/3"


@pytest.mark.parametrize(
    ("version", "field", "kept", "said"),
    [
        ("1.1", "", True, None),
        ("1.1", "Connection: close", False, "close"),
        ("1.1", "Connection: Close", False, "close"),
        ("1.1", "Connection: TE, close", False, "close"),
        ("1.1", "Connection: close, TE", False, "close"),
        ("1.1", "Connection: keep-alive", True, None),
        ("1.1", "Connection: closed", True, None),
        ("1.0", "", False, "close"),
        ("1.0", "Connection: close", False, "close"),
        ("1.0", "Connection: Keep-Alive", True, "keep-alive"),
        ("1.0", "Connection: TE,Keep-Alive", True, "keep-alive"),
        ("1.0", "Connection: keep-alive, close", False, "close"),
    ],
)
def test_who_keeps_a_connection(client: Client, version: str, field: str, kept: bool, said: str | None) -> None:
    """RFC 9112, 9.3; HTTP/1.0 with keep-alive is what `ab -k` speaks."""
    client.send(request("/1", *([field] if field else []), version=version))
    answer = client.read()
    assert answer.headers.get("Connection") == said
    if kept:
        client.send(request("/2"))
        assert client.read().path == "/2"
    else:
        assert client.is_closed()


@pytest.mark.parametrize("size", [1, 100_000, 3_000_000])
def test_a_body_that_nobody_read_is_not_the_next_request(client: Client, size: int) -> None:
    hidden = request("/hidden")
    body = (hidden * (size // len(hidden) + 1))[:size]
    client.send(request("/ignore", method="POST", body=body) + request("/2"))
    assert [client.read().path for _ in range(2)] == ["/ignore", "/2"]


def test_a_rejected_body_is_read_before_a_close(client: Client) -> None:
    """Or the system would reset the connection, and the answer would be lost on its way."""
    client.send(request("/ignore", "Connection: close", method="POST", body=b"x" * 3_000_000))
    time.sleep(0.1)
    assert client.read().path == "/ignore"
    assert client.is_closed()


def test_more_body_than_was_announced(client: Client) -> None:
    client.send(request("/1", "Content-Length: 3", method="POST") + b"abcdef\r\n\r\n")
    assert client.read().path == "/1"
    assert client.read().status == 400, "what is left is no request"
    assert client.is_closed()


def test_less_body_than_was_announced(client: Client) -> None:
    client.send(request("/echo", "Content-Length: 10", method="POST") + b"abc")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.read().status == 400
    assert client.is_closed()


@pytest.mark.parametrize("size", [MAX_JOINED_BYTES - 1, MAX_JOINED_BYTES, MAX_JOINED_BYTES + 1, 20_000_000])
def test_large_answers_are_whole(client: Client, size: int) -> None:
    client.send(request(f"/large?{size}") + request("/2"))
    answer = client.read()
    assert answer.body == b"<" + b"x" * (size - 2) + b">"
    second = client.read()
    assert second.path == "/2" and second.json["closed"] > 0, "PEP 3333: close() is called"


@pytest.mark.parametrize("target", ["/fail", "/split"])
def test_an_application_that_fails(client: Client, server: EchoServer, target: str) -> None:
    client.send(request(target, "X-Request-ID: find-me", method="POST", body=b"unread") + request("/2"))
    answer = client.read()
    assert (answer.status, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert (
        answer.json["request_id"] == "find-me" and b"secret" not in answer.body and "Set-Cookie" not in answer.headers
    )
    assert client.read().path == "/2"
    assert "the application failed" in server.output


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 101, 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + (b"A: " + b"b" * 50_000 + b"\r\n") * 6 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x01c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h/i\r\n\r\n", 400),
        (b"GET /" + b"a" * MAX_FIELD_LINE_BYTES + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"\x16\x03\x01" + b"\0" * 200 + b"\n", 400),
    ],
    ids=lambda value: value[:25] if isinstance(value, bytes) else value,
)
def test_what_is_malformed_is_answered_and_ends_the_connection(
    client: Client, server: EchoServer, head: bytes, status: int
) -> None:
    client.send(request("/1") + head + request("/hidden"))
    assert client.read().path == "/1"
    answer = client.read()
    assert (answer.status, answer.headers["Connection"]) == (status, "close")
    assert (answer.headers["Content-Type"], answer.json["status"]) == ("application/problem+json", status)
    parsedate_to_datetime(answer.headers["Date"])
    assert client.is_closed()
    logged = next(line for line in reversed(server.output.splitlines()) if answer.json["request_id"] in line)
    facts = json.loads(logged)
    assert (facts["status"], facts["bytes"], facts["client"]) == (status, len(answer.body), "127.0.0.1")
    assert facts["error"] and answer.headers["X-Request-ID"] == facts["request_id"]


@pytest.mark.parametrize(
    "rest",
    [b" HTTP/1.1\r\n\r\n", b" HTTP/3.0\r\nHost: h\r\n\r\n", b"?" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n"],
)
def test_a_head_that_is_rejected_has_no_body_either(client: Client, rest: bytes) -> None:
    client.send(b"HEAD /" + rest)
    answer = client.read(has_body=False)
    assert answer.status >= 400 and int(answer.headers["Content-Length"]) > 0
    assert client.is_closed()


def test_a_head_whose_application_fails_has_no_body_either(client: Client) -> None:
    client.send(request("/fail", method="HEAD") + request("/2"))
    assert client.read(has_body=False).status == 500
    assert client.read().path == "/2"


@pytest.mark.parametrize("target", [b"/v1/models/a", b"http://h/v1/models/a", b"HTTPS://h:80/V1/x?y"])
def test_what_is_malformed_under_v1_is_answered_in_tf_serving_s_form(client: Client, target: bytes) -> None:
    client.send(b"GET " + target + b" HTTP/1.1\r\n\r\n")
    answer = client.read()
    assert (answer.status, answer.json) == (400, {"error": "the request is not well-formed HTTP"})


def test_a_client_that_does_not_wait_for_a_rejection_leaves_no_traceback(server: EchoServer) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as impatient:
            impatient.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            impatient.sendall(b"GARBAGE\r\n" * 1000)
    assert fetch(f"http://127.0.0.1:{server.port}/echo").status == 200
    assert "OSError" not in server.output and "BrokenPipe" not in server.output and "reset" not in server.output


def test_a_request_line_up_to_the_limit(client: Client) -> None:
    line = len("GET /? HTTP/1.1\r\n")
    client.send(request("/?" + "a" * (MAX_FIELD_LINE_BYTES - line)))
    assert client.read().status == 200
    client.send(request("/?" + "a" * (MAX_FIELD_LINE_BYTES - line + 1)))
    assert client.read().status == 414


def test_a_line_far_over_the_limit_is_answered_when_it_has_ended(client: Client) -> None:
    """A close before that would reset the connection, and the answer would be lost on its way."""
    client.send(request("/?" + "a" * 3_000_000))
    time.sleep(0.1)
    assert client.read().status == 414
    assert client.is_closed()


def test_the_date_is_one_and_moves_on(client: Client) -> None:
    dates = set()
    ends = time.monotonic() + 10
    while len(dates) < 2 and time.monotonic() < ends:
        client.send(request("/1"))
        text = client.read().headers["Date"]
        date = parsedate_to_datetime(text)
        assert text.endswith(" GMT") and abs(date.timestamp() - time.time()) < 3
        dates.add(date)
        time.sleep(0.1)
    assert len(dates) == 2


SILENT = {
    "at first": b"",
    "in the line": b"GET / HT",
    "in a header": b"GET / HTTP/1.1\r\nHost: h\r\nAcc",
    "between headers": b"GET / HTTP/1.1\r\nHost: h\r\n",
    "in a body": request("/echo", "Content-Length: 5", method="POST") + b"abc",
    "in an unread body": request("/1", "Content-Length: 5", method="POST") + b"abc",
    "between requests": request("/1"),
    "in the next line": request("/1") + b"GET / HT",
}
# Of these a part of the next request has come, which is answered.
BEGUN = {"in the line", "in a header", "between headers", "in the next line"}


def test_silent_clients_are_given_up(server: EchoServer) -> None:
    """All at once, for each takes its time."""
    with contextlib.ExitStack() as stack:
        clients = {where: stack.enter_context(Client(server.port)) for where in SILENT}
        started = time.monotonic()
        for where, sent in SILENT.items():
            clients[where].send(sent)
        for where, sent in SILENT.items():
            if b"\r\n\r\n" in sent:
                answer = clients[where].read()
                assert answer.status == (400 if where == "in a body" else 200), where
        for where, client in clients.items():
            if where in BEGUN:
                answer = client.read()
                assert (answer.status, answer.headers["Connection"]) == (408, "close"), where
                assert answer.json["request_id"] == answer.headers["X-Request-ID"] in server.output
            assert client.is_closed(), where
            seconds = time.monotonic() - started
            assert IDLE_SECONDS * 0.9 < seconds < HEADER_SECONDS + 4, where


def test_a_client_that_is_slow_but_not_silent_is_served(client: Client) -> None:
    """Each pause is shorter than what is allowed, all together are longer."""
    head, _, end = request("/echo", method="POST", body=b"abc").partition(b"h: 3")
    client.send(head, b"h: 3", end[:5], end[5:6], end[6:], pause=0.35 * IDLE_SECONDS)
    assert client.read().json["body"] == "abc"


def readable(client: Client) -> bool:
    return bool(select.select([client.socket], [], [], 0)[0])


def test_a_body_that_drips_is_given_up_and_one_at_a_fair_rate_is_not(server: EchoServer) -> None:
    """No pause is longer than what is allowed, but at the rate of the first it would take hours (RFC 9110, 15.5.9)."""
    size = 20_000
    head = request("/echo", f"Content-Length: {size}", method="POST")
    with Client(server.port) as dripping, Client(server.port) as slow:
        slow.send(head + b"x" * 8000)  # for a machine that is busy: it has eight seconds in advance
        size -= 8000
        dripping.send(head)
        started = time.monotonic()
        while time.monotonic() - started < BODY_SECONDS + 1.2:
            size -= 400
            slow.send(b"x" * 400)
            with contextlib.suppress(OSError):
                dripping.send(b"x")
            time.sleep(0.1)
        assert dripping.read().json["error"] == "the body did not arrive in time"
        assert dripping.is_closed()
        slow.send(b"x" * size)
        assert len(slow.read().json["body"]) == 20_000


def test_many_requests_at_once_let_others_go_first(server: EchoServer, client: Client) -> None:
    """Two thousand requests of one client are in the server's hands; another one's needs not wait for all of them."""
    count = 2000
    client.send(b"".join(request(f"/{i}") for i in range(count)))
    with Client(server.port) as other:
        other.send(request("/other"))
        assert other.read().path == "/other"
        answered = 0
        while readable(client) and answered < count:
            client.read()
            answered += 1
        assert answered < count, "all of them came first"
    for i in range(answered, count):
        assert client.read().path == f"/{i}"


def test_an_endless_body_that_nobody_reads_ends_the_connection(client: Client) -> None:
    client.send(request("/ignore", f"Content-Length: {10**15}", method="POST"))
    assert client.read().path == "/ignore"
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        client.send(*[bytes(2**20)] * 200)
