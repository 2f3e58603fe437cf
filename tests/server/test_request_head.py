"""Heads of requests: what RFC 9112 allows becomes WSGI variables, and what has two readings does not."""

import contextlib
import io
import random
import tracemalloc
from collections.abc import Iterator

import pytest
from gevent import pywsgi

from wsgiapp.server import request_head
from wsgiapp.server.request_head import (
    MAX_CACHED_NAMES,
    MAX_FIELD_LINE_BYTES,
    MAX_FIELD_LINES,
    MalformedRequest,
    read_head,
)


def read(head: bytes) -> dict[str, str]:
    stream = io.BytesIO(head)
    return read_head(stream.readline(), stream.readline)


def get(*fields: bytes, version: bytes = b"HTTP/1.1") -> dict[str, str]:
    """The variables of a GET with these header lines, which lack their line ends."""
    return read(b"\r\n".join([b"GET / " + version, b"Host: h", *fields, b"", b""]))


@pytest.fixture(autouse=True)
def _no_names_known() -> Iterator[None]:
    request_head._variable_names.clear()
    yield
    request_head._variable_names.clear()


def test_a_whole_head() -> None:
    head = (
        b"POST /lstm/predict?line=a%20b&c=? HTTP/1.1\r\nHost: here:8080\r\ncontent-type: application/json\r\n"
        b"CONTENT-LENGTH:3\r\nX-Request-ID: \t a b \t\r\nAccept: a\r\nAccept: b\r\nCookie: c=1\r\nCookie: d=2\r\n"
        b"X-Empty:\r\n\r\nabc"
    )
    stream = io.BytesIO(head)
    assert read_head(stream.readline(), stream.readline) == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "REQUEST_URI": "/lstm/predict?line=a%20b&c=?",
        "PATH_INFO": "/lstm/predict",
        "QUERY_STRING": "line=a%20b&c=?",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "here:8080",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "3",
        "HTTP_X_REQUEST_ID": "a b",
        "HTTP_ACCEPT": "a,b",
        "HTTP_COOKIE": "c=1; d=2",
        "HTTP_X_EMPTY": "",
    }
    assert stream.read() == b"abc", "the body is left where it is"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", ""),
        (b"/a%2Fb/%E5%A5%BD", "/a/b/\xe5\xa5\xbd", ""),
        (b"/a%2fb%", "/a/b%", ""),
        (b"/%zz%00", "/%zz\0", ""),
        (b"/a+b", "/a+b", ""),
        (b"/a?b?c", "/a", "b?c"),
        (b"/?%2F", "/", "%2F"),
        (b"//a//b", "//a//b", ""),
        ("/好?line=好".encode(), "/å¥½", "line=å¥½"),
        (b"*", "*", ""),
        (b"http://here:8080/a?b", "/a", "b"),
        (b"HTTPS://here/a%2Fb", "/a/b", ""),
        (b"http://here", "/", ""),
        (b"http://here?a=/b", "/", "a=/b"),
    ],
)
def test_targets(target: bytes, path: str, query: str) -> None:
    """Percent-encoded bytes and bare ones come as Latin-1 (PEP 3333); absolute ones as to a proxy (RFC 9112, 3.2.2)."""
    variables = read(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (variables["PATH_INFO"], variables["QUERY_STRING"]) == (path, query)
    assert variables["REQUEST_URI"] == target.decode("latin-1")


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_line_feeds_alone_end_lines_too(version: bytes) -> None:
    """RFC 9112, 2.2: a recipient may take them."""
    variables = read(b"GET / " + version + b"\nHost: h\nA: b\n\n")
    assert (variables["HTTP_A"], variables["SERVER_PROTOCOL"]) == ("b", version.decode())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\r\n",
        b"GET\r\n",
        b"GET /\r\n",
        b"GET  / HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/1.1 x\r\n",
        b"GET\t/\tHTTP/1.1\r\n",
        b"GET\x0b/\x0cHTTP/1.1\r\n",
        b"GET\r/ HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\r\n",
        b"GET / HTTP/1.10\r\n",
        b"GET / http/1.1\r\n",
        b"GET / \r\n",
        b"GET  HTTP/1.1\r\n",
        b"GET /a b HTTP/1.1\r\n",
        b"GET /\0 HTTP/1.1\r\n",
        b"GET /\x1b HTTP/1.1\r\n",
        b"GET /\x7f HTTP/1.1\r\n",
        b"G@T / HTTP/1.1\r\n",
        b"G\xc3\x89T / HTTP/1.1\r\n",
        b" / HTTP/1.1\r\n",
        b"GET healthz HTTP/1.1\r\n",
        b"GET ftp://here/ HTTP/1.1\r\n",
        b"CONNECT here:443 HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n",
    ],
)
def test_what_is_not_a_request_line(line: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(line + b"Host: h\r\n\r\n")
    assert caught.value.status == 400


@pytest.mark.parametrize("line", [b"PRI * HTTP/2.0", b"GET / HTTP/2", b"GET / HTTP/0.9", b"GET / HTTP/1.2"])
def test_versions_that_are_not_served(line: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(line + b"\r\nHost: h\r\n\r\n")
    assert caught.value.status == 505


@pytest.mark.parametrize(
    "field",
    [
        b"Accept",
        b": a",
        b"Accept : a",
        b"Accept\t: a",
        b" Accept: a",
        b"Ac cept: a",
        b"Ac\0cept: a",
        b"Acc\xe9pt: a",
        b"(Accept): a",
        b"A: b\r\n folded: c",
        b"A: b\r\n\tc",
        b"A: b\0c",
        b"A: b\rc",
        b"A: b\r",
        b"A:\rb",
        b"Content-Length:\r5",
    ],
)
def test_what_is_not_a_header(field: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        get(field)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"Content-Type", b"Transfer-Encoding"])
@pytest.mark.parametrize("second", [b"%s: 1", b"%s: 2"])
def test_what_may_come_only_once(name: bytes, second: bytes) -> None:
    """Also twice the same: RFC 9112 lets a server take that for Content-Length, and other readers may not."""
    with pytest.raises(MalformedRequest, match=r"duplicate|Transfer-Encoding"):
        get(name + b": 1", second % name.lower())


def test_a_host_is_wanted_of_http_1_1() -> None:
    """RFC 9112, 3.2: a server must answer 400 without one."""
    with pytest.raises(MalformedRequest, match="Host") as caught:
        read(b"GET / HTTP/1.1\r\nAccept: a\r\n\r\n")
    assert caught.value.status == 400
    assert "HTTP_HOST" not in read(b"GET / HTTP/1.0\r\n\r\n")
    assert read(b"GET / HTTP/1.1\r\nHost:\r\n\r\n")["HTTP_HOST"] == ""


@pytest.mark.parametrize("value", [b"0", b"17", b"007", b"9" * 18, b" 5\t"])
def test_lengths(value: bytes) -> None:
    assert get(b"Content-Length:" + value)["CONTENT_LENGTH"] == value.strip().decode()


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"+1", b"1.0", b"0x10", b"1 2", b"5,5", b"5, 6", b"1_000", b"\xb2", b"9" * 19, b"five"]
)
def test_lengths_that_are_none(value: bytes) -> None:
    with pytest.raises(MalformedRequest, match="invalid Content-Length"):
        get(b"Content-Length: " + value)


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b" chunked\t"])
def test_chunked(value: bytes) -> None:
    assert get(b"Transfer-Encoding:" + value)["HTTP_TRANSFER_ENCODING"].lower() == "chunked"


@pytest.mark.parametrize("value", [b"", b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked"])
def test_other_transfer_encodings(value: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        get(b"Transfer-Encoding: " + value)
    assert caught.value.status == 501


def test_two_ways_to_end_a_body_are_none() -> None:
    """RFC 9112, 6.3 and 6.1: how requests are smuggled."""
    for fields, version in (
        ((b"Transfer-Encoding: chunked", b"Content-Length: 5"), b"HTTP/1.1"),
        ((b"Content-Length: 0", b"Transfer-Encoding: chunked"), b"HTTP/1.1"),
        ((b"Transfer-Encoding: chunked",), b"HTTP/1.0"),
    ):
        with pytest.raises(MalformedRequest) as caught:
            get(*fields, version=version)
        assert caught.value.status == 400


def test_underscores_cannot_pass_for_hyphens() -> None:
    variables = get(b"X_Real_IP: 6.6.6.6", b"X-Real-IP: 1.2.3.4", b"Content_Length: 5", b"Transfer_Encoding: chunked")
    assert variables["HTTP_X_REAL_IP"] == "1.2.3.4"
    assert not {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH", ""} & set(variables)


def test_headers_cannot_pass_for_other_variables() -> None:
    variables = get(b"Script-Name: /x", b"Remote-Addr: 1.2.3.4", b"wsgi.input: x", b"Http-Content-Length: 5")
    assert variables["SCRIPT_NAME"] == "" and "REMOTE_ADDR" not in variables
    assert variables["HTTP_HTTP_CONTENT_LENGTH"] == "5" and "CONTENT_LENGTH" not in variables
    assert variables["HTTP_WSGI.INPUT"] == "x"


def test_how_much_a_head_may_be() -> None:
    full_line = b"A: " + b"b" * (MAX_FIELD_LINE_BYTES - 5)
    assert len(get(full_line)["HTTP_A"]) == MAX_FIELD_LINE_BYTES - 5
    most = [b"A%d: b" % i for i in range(MAX_FIELD_LINES - 1)]  # and Host
    assert get(*most)["HTTP_A98"] == "b"
    for fields in ([full_line + b"b"], [full_line * 20], [*most, b"B: c"], [b"A" * 2 * MAX_FIELD_LINE_BYTES]):
        with pytest.raises(MalformedRequest) as caught:
            get(*fields)
        assert caught.value.status == 431


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n", b"GET / HTTP/1.1\r\nHost: h"]
)
def test_a_head_that_is_cut_off(head: bytes) -> None:
    with pytest.raises(MalformedRequest, match="incomplete") as caught:
        read(head)
    assert caught.value.status == 400


def test_made_up_names_cost_a_bounded_space() -> None:
    tracemalloc.start()
    for i in range(3 * MAX_CACHED_NAMES):
        name = b"X-%d-" % i + b"a" * (i % 2 * 20_000)
        assert len(get(name + b": b")) == 8
        assert len(request_head._variable_names) <= MAX_CACHED_NAMES
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 2_000_000
    assert get(b"X-New: c")["HTTP_X_NEW"] == "c"
    get(b"X-New: c")
    assert b"X-New" in request_head._variable_names, "strangers' names do not keep others out"


WELL_FORMED = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /a%2Fb/%E5%A5%BD?line=%E5%A5%BD&x=? HTTP/1.0\r\nAccept: */*\r\n\r\n",
    "GET /好?q=好 HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/8\r\n\r\n".encode(),
    b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 0\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nContent-Type: a/b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nCookie: b=2\r\nAccept: a\r\nACCEPT: b;q=0.5, c\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nhost: h\r\nX-Real-IP: 1.2.3.4\r\nX_Real_IP: 6.6.6.6\r\nA:\r\nB: \t c d \t\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: h\r\nX-Latin: caf\xe9\r\nX-Colon: a:b:c\r\nX-'!#$%&*+.^`|~9: d\r\n\r\n",
]


@pytest.mark.parametrize("head", WELL_FORMED)
def test_pywsgi_reads_the_same(head: bytes) -> None:
    """Its own parser is the standard library's; what it reads is what applications were written for."""
    stream = io.BytesIO(head)
    server = pywsgi.WSGIServer(("127.0.0.1", 0), log=None)
    handler = pywsgi.WSGIHandler(None, ("127.0.0.1", 5), server, rfile=stream)
    handler.read_request(stream.readline().decode("latin-1"))
    environ = handler.get_environ()
    names = {name for name in environ if name.startswith(("HTTP_", "CONTENT_"))}
    names |= {"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL"}
    variables = read(head)
    assert variables.pop("REQUEST_URI") == head.split()[1].decode("latin-1")
    assert variables == {name: environ[name] for name in names}


PIECES = [
    *(
        b"GET",
        b"POST",
        b" ",
        b"/",
        b"*",
        b"?",
        b"%",
        b"%2",
        b"%41",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2",
        b"\r\n",
        b"\n",
    ),
    *(b"\r", b"\0", b":", b": ", b"\t", b"Host", b"Content-Length", b"Transfer-Encoding", b"chunked", b"5", b",", b"_"),
    *(b"\xff", b"\xe5\xa5\xbd", b"http://", b"Cookie", b"A" * 300, b"\r\n\r\n"),
]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_is_read_or_rejected(seed: int) -> None:
    rng = random.Random(seed)
    accepted = 0
    for _ in range(300):
        head = rng.choice(WELL_FORMED)
        for _ in range(rng.randint(0, 4)):  # bytes changed, pieces put in, parts cut out
            start, end = sorted(rng.choices(range(len(head) + 1), k=2))
            new = rng.choice([rng.choice(PIECES), rng.randbytes(rng.randint(1, 5)), b""])
            head = head[:start] + new + head[rng.choice([start, start + 1, end]) :]
        if rng.random() < 0.2:
            head = rng.randbytes(rng.randint(0, 60)) + rng.choice([b"", b"\r\n\r\n"])
        variables = read_or_reject(head)
        if variables is not None:
            accepted += 1
            check(head, variables)
    assert accepted > 20, "not everything is rejected"


def read_or_reject(head: bytes) -> dict[str, str] | None:
    with contextlib.suppress(MalformedRequest):
        return read(head)
    return None


def check(head: bytes, variables: dict[str, str]) -> None:
    """What holds for whatever was accepted."""
    assert variables["SERVER_PROTOCOL"] in ("HTTP/1.1", "HTTP/1.0")
    assert variables["REQUEST_URI"] == head.split(b" ")[1].decode("latin-1")
    assert "HTTP_HOST" in variables or variables["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert int(variables.get("CONTENT_LENGTH", "0")) >= 0
    assert not {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} <= set(variables)
    for name, value in variables.items():
        assert name and not set("\r\n\0") & set(value) - set("\r\n\0" if name == "PATH_INFO" else "")


def test_a_path_is_bounded_and_a_query_is_not() -> None:
    assert (
        read(b"GET /" + b"%41" * 2730 + b"?" + b"a" * 100_000 + b" HTTP/1.0\r\n\r\n")["PATH_INFO"] == "/" + "A" * 2730
    )
    with pytest.raises(MalformedRequest) as caught:
        read(b"GET /" + b"%41" * 2731 + b" HTTP/1.0\r\n\r\n")
    assert caught.value.status == 414
