"""Random requests, and what is said of their answers."""

import pytest

from fuzz.api import Findings
from fuzz.requests import Request, Requests

ASKED = Request(b"POST /lstm/predict HTTP/1.1\r\n\r\n", is_whole=True)
HEAD = Request(b"HEAD /healthz HTTP/1.1\r\n\r\n", is_whole=True)
DAMAGED = Request(b"POST /ls", is_whole=False)
PROBLEM = b'{"title": "Bad Request", "status": 400, "request_id": "a"}'


def answer(status: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n".encode() + body


def test_the_same_seed_makes_the_same_requests() -> None:
    one, other, third = Requests(1), Requests(1), Requests(2)
    made = [next(one) for _ in range(200)]
    assert made == [next(other) for _ in range(200)]
    assert made != [next(third) for _ in range(200)]
    assert {True, False} == {request.is_whole for request in made}


def test_a_whole_request_says_how_long_it_is() -> None:
    requests = Requests(3)
    for request in (next(requests) for _ in range(500)):
        if request.is_whole:
            head, _, body = request.sent.partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize(
    ("request_", "said", "seconds"),
    [
        (ASKED, answer("200 OK", b"{}"), 0.1),
        (ASKED, answer("400 Bad Request", PROBLEM, "application/problem+json"), 0.1),
        (ASKED, answer("404 Not Found", b'{"error": "no such model"}'), 0.1),
        (ASKED, b"HTTP/1.1 100 Continue\r\n\r\n" + answer("200 OK", b"{}"), 0.1),
        (HEAD, answer("200 OK"), 0.1),
        (DAMAGED, b"", 1.0),
    ],
)
def test_right_answers(request_: Request, said: bytes, seconds: float) -> None:
    findings = Findings()
    findings.judge(request_, said, seconds)
    assert findings.problems == []


@pytest.mark.parametrize(
    ("request_", "said", "seconds", "problem"),
    [
        (ASKED, b"", 0.1, "no answer"),
        (ASKED, answer("200 OK", b"{}"), 31.0, "no whole answer in 31 s"),
        (ASKED, answer("500 Internal Server Error", PROBLEM), 0.1, "500"),
        (ASKED, answer("200 OK", b'Traceback (most recent call last):\n  File "/x"'), 0.1, "200"),
        (ASKED, answer("404 Not Found", b"<html>", "text/html"), 0.1, "404: not an error in JSON"),
        (ASKED, answer("400 Bad Request", b'{"title": "no id"}', "application/problem+json"), 0.1, "400: not an error"),
        (HEAD, answer("200 OK", b"{}"), 0.1, "HEAD with a body"),
    ],
)
def test_wrong_answers(request_: Request, said: bytes, seconds: float, problem: str) -> None:
    findings = Findings()
    findings.judge(request_, said, seconds)
    findings.judge(request_, said, seconds)
    (found,) = findings.problems
    assert found.startswith(problem)
