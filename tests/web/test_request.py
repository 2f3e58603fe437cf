"""Bodies: inflated where they are gzipped, in bounded memory; errors in the form that their path wants."""

import codecs
import gzip
import io
import json
import time
import tracemalloc
import zlib
from typing import Any

import gevent
import numpy as np
import pytest
from werkzeug.exceptions import (
    ClientDisconnected,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.test import EnvironBuilder

from support.http_client import gzip_bomb, multipart
from wsgiapp.errors import InvalidField, Overloaded, TooLarge
from wsgiapp.errors import NotFound as NoSuchModel
from wsgiapp.inference.call_options import DEFAULT, CallOptions
from wsgiapp.web import document_memory
from wsgiapp.web.problems import error_response
from wsgiapp.web.request import Request
from wsgiapp.web.response import STATUS_LINES, Response, answer

LIMIT = 1_000_000


def request(
    body: bytes, encoding: str | None = "gzip", kind: str = "application/json", path: str = "/predict"
) -> Request:
    headers = {"Content-Encoding": encoding} if encoding is not None else {}
    environ = EnvironBuilder(path, method="POST", data=body, content_type=kind, headers=headers).get_environ()
    return Request(environ, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip "])
def test_every_kind_of_body_may_be_gzipped(encoding: str) -> None:
    assert request(gzip.compress(b'{"line": "a"}'), encoding).payload().fields == {"line": "a"}
    form = request(gzip.compress(b"line=a"), encoding, "application/x-www-form-urlencoded")
    assert form.payload().fields == {"line": "a"}
    picture = request(gzip.compress(b"picture"), encoding, "image/png")
    assert picture.payload().files == {"": b"picture"}
    body, kind = multipart("img", "a.png", b"picture" * 1000, encoding="npy")
    parts = request(gzip.compress(body), encoding, kind).payload()
    assert parts.files == {"img": b"picture" * 1000} and parts.fields == {"encoding": "npy"}


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_others_are_as_they_are(encoding: str | None) -> None:
    assert request(b'{"line": "a"}', encoding).payload().fields == {"line": "a"}


def test_an_encoding_that_is_not_understood() -> None:
    for encoding in ("br", "deflate", "gzip, gzip"):
        with pytest.raises(UnsupportedMediaType, match="only gzip"):
            request(b"", encoding).payload()


def test_up_to_the_limit() -> None:
    assert len(request(gzip.compress(bytes(LIMIT))).get_data()) == LIMIT
    with pytest.raises(TooLarge, match=f"body: it inflates to more than the limit of {LIMIT} bytes"):
        request(gzip.compress(bytes(LIMIT + 1))).get_data()
    with pytest.raises(RequestEntityTooLarge):
        request(bytes(LIMIT + 1)).get_data()


WHOLE = gzip.compress(b'{"line": "a"}' * 10_000)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "the gzip stream is cut off"),
        (WHOLE[:-1], "the gzip stream is cut off"),
        (b'{"line": "a"}', "not gzip, as Content-Encoding says"),
        (zlib.compress(b"a"), "not gzip, as Content-Encoding says"),
        (WHOLE[:40] + b"\0" * 20 + WHOLE[60:], "not gzip, as Content-Encoding says"),
        (WHOLE[:-8] + bytes(8), "not gzip, as Content-Encoding says"),
        (WHOLE + b"x", "more data follows the end of the gzip stream"),
        (WHOLE + b"\x1f", "the gzip stream is cut off"),
        (WHOLE + WHOLE[:-1], "the gzip stream is cut off"),
        (WHOLE + bytes(8), "more data follows the end of the gzip stream"),
    ],
    ids=[
        "empty",
        "cut",
        "plain",
        "zlib",
        "corrupt",
        "wrong checksum",
        "trailing",
        "half a member",
        "cut member",
        "padding",
    ],
)
def test_what_is_not_gzip(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidField, match=f"body: {problem}"):
        request(body).get_data()


def test_a_stream_of_several_members() -> None:
    """As pigz and bgzip write them, and whoever appends to a file."""
    assert request(gzip.compress(b'{"line": ') + gzip.compress(b'"a"}')).payload().fields == {"line": "a"}
    halves = gzip.compress(bytes(LIMIT // 2))
    assert request(halves + halves).get_data() == bytes(LIMIT)
    with pytest.raises(TooLarge, match="it inflates to more than the limit"):
        request(halves + halves + gzip.compress(b"x")).get_data()
    assert request(gzip.compress(b"") * 999 + gzip.compress(b"{}")).payload().fields == {}
    with pytest.raises(TooLarge, match="more than 1000 members"):
        request(gzip.compress(b"") * 1001).get_data()


def test_a_bomb_costs_little() -> None:
    body = gzip_bomb(900)
    assert len(zlib.decompressobj(wbits=31).decompress(body, 100 * LIMIT)) == 100 * LIMIT, "it would inflate"
    assert len(body) < LIMIT, "Nginx lets it pass"
    sent = request(body)
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(TooLarge):
        sent.get_data()
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * LIMIT
    assert seconds < 1


@pytest.mark.parametrize("path", ["/v1/models/a%2Fb:predict", "/V1/x"])
@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NoSuchModel("Servable not found"), 404, "Servable not found"),
        (Overloaded("busy"), 503, "busy"),
        (NotFound(), 400, "Malformed request: POST {path}"),
        (MethodNotAllowed(["GET"]), 400, "Malformed request: POST {path}"),
        (RequestEntityTooLarge(), 413, "body: larger than the limit"),
        (UnsupportedMediaType("only gzip"), 415, "only gzip"),
        (ZeroDivisionError("secret"), 500, "the service failed; the request's id finds the reason in its log"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_under_v1_have_tf_serving_s_form(path: str, error: Exception, status: int, text: str) -> None:
    answer = error_response(error, request(b"", path=path))
    assert (answer.status, answer.headers[0]) == (status, ("Content-Type", "application/json"))
    assert json.loads(answer.body) == {"error": text.format(path=path)}
    headers = dict(answer.headers)
    assert headers.get("Retry-After") == ("1" if status == 503 else None)
    assert "Allow" not in headers


def test_errors_elsewhere_are_problems() -> None:
    for path in ("/v1", "/v2/models", "/x/v1/"):
        answer = error_response(NotFound("no"), request(b"", path=path))
        assert (answer.status, answer.headers[0]) == (404, ("Content-Type", "application/problem+json"))


def test_the_path_as_it_was_sent() -> None:
    environ: dict[str, Any] = {"PATH_INFO": "/a/b c", "REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO()}
    assert Request(environ, LIMIT).raw_path == "/a/b%20c"
    for authority in ("", "http://h", "HTTP://h:80", "https://[::1]:8080"):
        assert Request({**environ, "REQUEST_URI": f"{authority}/a%2Fb%20c?d=%2F"}, LIMIT).raw_path == "/a%2Fb%20c"
    assert Request({**environ, "REQUEST_URI": "http://h?d=/x"}, LIMIT).raw_path == "/"
    assert Request({**environ, "RAW_URI": "/a%2Fb%20c?d=%2F"}, LIMIT).raw_path == "/a%2Fb%20c", "gunicorn's name"
    assert Request({**environ, "PATH_INFO": "/v1/models/m:predict"}, LIMIT).raw_path == "/v1/models/m:predict"


class Stream:
    """A body as a server gives it, which ends early, or with an error."""

    def __init__(self, sent: bytes, error: Exception | None = None) -> None:
        self._sent = io.BytesIO(sent)
        self._error = error

    def read(self, size: int = -1) -> bytes:
        data = self._sent.read(size)
        if self._error and len(data) < size:
            raise self._error
        return data


def sent(stream: io.BytesIO | Stream, length: int | None, **more: Any) -> Request:
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/predict", "wsgi.input": stream, **more}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    return Request(environ, LIMIT)


def test_a_body_is_read_as_far_as_was_announced() -> None:
    stream = io.BytesIO(b"abcNEXT")
    assert sent(stream, 3).body() == b"abc"
    assert stream.read() == b"NEXT"
    assert sent(io.BytesIO(b"NEXT"), 0).body() == b""
    assert sent(io.BytesIO(b"NEXT"), None).body() == b"", "nothing was announced"
    assert len(sent(io.BytesIO(bytes(LIMIT)), LIMIT).body()) == LIMIT


def test_a_body_without_a_length_is_read_to_its_end() -> None:
    """Chunked: the server ends it."""
    assert sent(io.BytesIO(b"abc"), None, **{"wsgi.input_terminated": True}).body() == b"abc"
    assert len(sent(io.BytesIO(bytes(LIMIT)), None, **{"wsgi.input_terminated": True}).body()) == LIMIT
    with pytest.raises(RequestEntityTooLarge):
        sent(io.BytesIO(bytes(LIMIT + 1)), None, **{"wsgi.input_terminated": True}).body()


def test_a_body_over_the_limit_is_not_read() -> None:
    stream = io.BytesIO(bytes(LIMIT + 1))
    with pytest.raises(RequestEntityTooLarge):
        sent(stream, LIMIT + 1).body()
    assert stream.tell() == 0


@pytest.mark.parametrize(
    ("length", "error", "status", "detail"),
    [
        (10, None, 400, "body: incomplete or malformed"),
        (10, ConnectionResetError(), 400, "body: incomplete or malformed"),
        (10, TimeoutError(), 408, "body: it did not arrive in time"),
        (None, OSError("not chunked"), 400, "body: incomplete or malformed"),
        (None, TimeoutError(), 408, "body: it did not arrive in time"),
    ],
    ids=["ended", "reset", "silent", "not chunked", "chunked and silent"],
)
def test_a_body_that_does_not_come(length: int | None, error: Exception | None, status: int, detail: str) -> None:
    request = sent(Stream(b"abc", error), length, **{"wsgi.input_terminated": True})
    with pytest.raises(ClientDisconnected) as caught:
        request.body()
    answer = error_response(caught.value, request)
    assert (answer.status, json.loads(answer.body)["detail"]) == (status, detail)


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
@pytest.mark.parametrize(
    "body", [b' {"line": "a"}', codecs.BOM_UTF8 + b'{"line": "a"}', codecs.BOM_UTF8 + b' {"line": "a"}']
)
def test_json_whatever_it_is_called_and_begins_with(kind: str, body: bytes) -> None:
    """`curl -d '{...}'` calls its JSON a form; editors on Windows begin UTF-8 with a mark."""
    assert request(body, None, kind).payload().fields == {"line": "a"}
    assert request(gzip.compress(body), "gzip", kind).payload().fields == {"line": "a"}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"line": "很好"}'.encode("gbk"), "not JSON in UTF-8, which JSON has to be in (byte 10 is 0xBA"),
        ('{"line": "很好"}'.encode("utf-16"), "not JSON in UTF-8, which JSON has to be in, but UTF-16"),
        ('{"line": "很好"}'.encode("utf-16-be"), "not JSON in UTF-8, which JSON has to be in, but UTF-16"),
        ('{"line": "很好"}'.encode("utf-32"), "not JSON in UTF-8, which JSON has to be in, but UTF-16 or UTF-32"),
        (b'{"line": "a",}', "not JSON (trailing comma"),
    ],
)
def test_json_that_is_not_utf_8_says_so(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidField) as caught:
        request(body, None).payload()
    assert str(caught.value).startswith(f"body: {problem}")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
)
def test_what_is_not_utf_8_is_an_error_of_its_field_alone(kind: str) -> None:
    bodies = {
        "application/json": b'{"line": "a"}',
        "application/x-www-form-urlencoded": b"line=a&v=\xce\xd2",
        "multipart/form-data; boundary=b": multipart("x", "x", b"", line="a")[0].replace(b"----wsgiapp-test", b"b"),
    }
    for query in (b"u=\xce\xd2", b"u=%CE%D2", b"u=\xe5%BD", b"\xce=\xd2"):
        sent = request(bodies[kind], None, kind)
        sent.query_string = query
        payload = sent.payload()
        assert payload.fields["line"] == "a"
        if query.startswith(b"u"):
            with pytest.raises(InvalidField, match=r"^u: not UTF-8 \(a byte is 0x"):
                payload.fields.get("u")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_answer_is_a_wsgi_application(method: str) -> None:
    started: list[Any] = []
    answer = Response(b"abc", 404, content_type="text/plain")
    answer.headers.append(("X-More", "d"))
    body = answer({"REQUEST_METHOD": method}, lambda status, headers: started.extend((status, headers)))
    assert started == ["404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "3"), ("X-More", "d")]]
    assert body == ([] if method == "HEAD" else [b"abc"])


def test_answers_hold_numpy_s_numbers() -> None:
    body = {"softmax": np.array([0.1, 0.9], np.float32), "classes_id": np.int64(1), "labels": "好"}
    sent = answer(body)
    assert sent.body == '{"softmax":[0.1,0.9],"classes_id":1,"labels":"好"}\n'.encode()
    assert dict(sent.headers) == {"Content-Type": "application/json", "Content-Length": str(len(sent.body))}


def test_every_status_that_is_answered_has_a_line() -> None:
    for status, line in STATUS_LINES.items():
        assert line.startswith(f"{status} ") and len(line) > 4
    assert {400, 413, 414, 431, 499, 501, 505} <= set(STATUS_LINES)


def test_a_long_accept_is_disregarded() -> None:
    asked = request(b'{"line": "a"}', None)
    for accept, is_picture in (("image/png", True), ("image/png," * 400, True), ("image/png," * 500, False)):
        asked.environ["HTTP_ACCEPT"] = accept
        asked.__dict__.pop("accept_mimetypes", None)
        asked.__dict__.pop("headers", None)
        asked.environ["wsgi.input"] = io.BytesIO(b'{"line": "a"}')
        assert asked.payload().as_picture is is_picture


def test_a_long_body_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[None] = []
    monkeypatch.setattr("wsgiapp.web.request.give_way", lambda: turns.append(None))
    monkeypatch.setattr("wsgiapp.web.request.READ_BYTES", 1000)
    body = bytes(range(250)) * 40
    assert sent(io.BytesIO(body), len(body)).body() == body
    assert len(turns) == 10
    with pytest.raises(ClientDisconnected):
        sent(io.BytesIO(body), len(body) + 1).body()


def test_long_json_waits_for_its_turn_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"line": [' + b"[]," * 100_000 + b"[]]}"
    monkeypatch.setattr(document_memory, "SMALL_BYTES", 2**20)
    first, second = sent(io.BytesIO(body), len(body)), sent(io.BytesIO(body), len(body))
    assert len(first.payload().fields["line"]) == 100_001
    waiting = gevent.spawn(second.payload)
    gevent.sleep(0.05)
    assert not waiting.ready()
    first.close()
    waiting.get(timeout=30)
    second.close()
    picture = b'{"img": "' + b"a" * 900_000 + b'"}'
    for _ in range(3):  # a long string takes little but its length: nobody waits for it
        assert len(sent(io.BytesIO(picture), len(picture)).payload().fields["img"]) == 900_000


@pytest.mark.parametrize("before", [0, 200_000, 600_000])
def test_where_a_byte_is_that_is_not_utf_8(before: int) -> None:
    body = b'{"line": "' + "好".encode() * (before // 3) + b"\xc4\xe3"
    with pytest.raises(InvalidField, match=rf"\(byte {10 + before // 3 * 3} is 0xC4"):
        request(body, None).payload()


def options(**headers: str) -> CallOptions:
    environ = EnvironBuilder("/predict", headers={k.replace("_", "-"): v for k, v in headers.items()}).get_environ()
    return Request(environ, LIMIT).call_options()


def test_how_a_request_is_to_be_treated() -> None:
    assert options() is DEFAULT
    assert options(X_Request_Timeout="2.5", X_Priority="Batch") == CallOptions(2.5, 0.0, True)
    assert options(X_Request_Timeout=".5", X_Priority="interactive") == CallOptions(0.5, 0.0, False)


@pytest.mark.parametrize("seconds", ["", "0", "0.0", "-1", "+1", "1e3", "nan", "inf", "1,5", "1 s", "9" * 10, "１"])
def test_a_timeout_that_is_no_number_of_seconds(seconds: str) -> None:
    with pytest.raises(InvalidField, match="X-Request-Timeout: not a number of seconds above 0"):
        options(X_Request_Timeout=seconds)


def test_when_nginx_had_the_request_counts_and_a_clock_that_was_set_does_not() -> None:
    assert 2.9 <= options(X_Request_Start=f"{time.time() - 3:.3f}").spent_seconds < 30
    for started in (time.time() - 7200, time.time() + 60):
        assert options(X_Request_Start=f"{started:.3f}") is DEFAULT
    assert options(X_Request_Start="t=soon") is DEFAULT
    environ = EnvironBuilder("/", headers={"X-Request-Start": "1"}, environ_base={"REMOTE_ADDR": "1.2.3.4"})
    assert Request(environ.get_environ(), LIMIT).call_options() is DEFAULT, "a client's word"


def test_an_overload_says_when_to_come_back() -> None:
    answer = error_response(Overloaded("busy", retry_after=7), request(b""))
    assert (answer.status, dict(answer.headers)["Retry-After"]) == (503, "7")
