"""Lines of the access logs, the workers' and Nginx's: each is bounded, whatever a client sends."""

import json
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.front import Front
from support.http_client import fetch, raw_answer
from support.processes import poll
from wsgiapp.web.access_log import MAX_LINE_BYTES, MAX_TEXT_CHARS, access_line, log_access
from wsgiapp.web.request import LOG_KEY

LONG = 300_000
REJECTED_BY_NGINX = "Host: h\r\nHost: h\r\n\r\n"


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b""]


def line(**environ: Any) -> bytes:
    lines: list[bytes] = []

    class Stream:
        def write(self, line: bytes, /) -> Any:
            lines.append(line)

    log_access(answer, Stream())(environ, lambda *arguments: None)
    return lines[0]


def test_a_usual_line_is_whole() -> None:
    path = "/a" * 300
    assert json.loads(line(PATH_INFO=path, REMOTE_ADDR="::1"))["path"] == path


@pytest.mark.parametrize("character", ["a", "\0", "\xe4\xbd\xa0", "\xff"])
def test_what_clients_choose_is_cut(character: str) -> None:
    text = character * LONG
    noted = {"status": 404, "model": text, "label": text, "error": text, "rows": 3}
    written = line(REQUEST_METHOD=text, PATH_INFO=text, HTTP_X_FORWARDED_FOR=text, **{LOG_KEY: noted})
    assert len(written) < 12_000
    facts = json.loads(written)
    assert (facts["status"], facts["rows"]) == (404, 3)
    client = text.strip()
    assert facts["client"] == f"{client[:MAX_TEXT_CHARS]}... ({len(client)} characters)"
    assert facts["path"].endswith(" characters)") and len(facts["path"]) < MAX_TEXT_CHARS + 30


def test_the_limit_is_for_the_line() -> None:
    assert len(access_line({"PATH_INFO": "/" + "a" * (MAX_LINE_BYTES - 400)}, 0.0)) > MAX_TEXT_CHARS + 400
    assert len(access_line({"PATH_INFO": "/" + "a" * MAX_LINE_BYTES}, 0.0)) < MAX_TEXT_CHARS + 400


@pytest.fixture(scope="module")
def silent_model_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="module")
def front(silent_model_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front"), silent_model_server) as started:
        yield started


def line_of(process: Any, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        lines = [
            json.loads(text) for text in process.output.splitlines() if text.startswith("{") and text.endswith("}")
        ]
        return next(filter(what, lines), None)

    found: dict[str, Any] = poll(find, what="the line in the log")
    return found


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_nginx_cuts_them_too(front: Front) -> None:
    path = "/" + "x" * LONG
    for method, target in (("POST", path), ("PUT", path + "?q"), ("X" * 1000, "/short")):
        status, _ = raw_answer(port(front.url), f"{method} {target} HTTP/1.1\r\n{REJECTED_BY_NGINX}")
        assert status == 400
    for method, shown in (("POST", path[:256] + "..."), ("PUT", path[:256] + "..."), ("X" * 32, "/short")):
        assert line_of(front.nginx, lambda facts, method=method: facts["method"] == method)["path"] == shown  # type: ignore[misc]


def test_a_client_that_leaves_nginx_leaves_the_worker_too(front: Front) -> None:
    """Nginx closes its own connection to the worker then, and the request there need not be answered any more."""
    with socket.create_connection(("127.0.0.1", port(front.url))) as client:
        head = b"POST /v1/models/away:predict HTTP/1.1\r\nHost: h\r\nX-Request-ID: gone\r\nContent-Length: 18\r\n\r\n"
        client.sendall(head + b'{"instances":[1]}\n')
        poll(lambda: has_connected(front))
    facts = line_of(front.worker, lambda facts: facts.get("request_id") == "gone")
    assert (facts["status"], facts["error"]) == (499, "the client closed its connection before the answer was ready")
    assert facts["ms"] < 9000, "before its deadline"


def has_connected(front: Front) -> bool:
    """Whether the worker has a connection to the model server, for a call."""
    tcp = Path(f"/proc/{front.worker.pid}/fd")
    return sum(entry.readlink().name.startswith("socket:") for entry in tcp.iterdir()) >= 4


def test_a_malformed_request_to_the_worker_is_one_line_too(front: Front) -> None:
    status, body = raw_answer(port(front.worker_url), "GET /" + "y" * 4000 + " HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n")
    facts = line_of(front.worker, lambda facts: facts.get("request_id") == body["request_id"])
    assert status == facts["status"] == 400
    assert facts["error"] == "invalid character in a header field value"
    assert len(facts["path"]) < MAX_TEXT_CHARS + 30
    assert fetch(f"{front.worker_url}/healthz").status == 200
