"""The bodies that a worker holds at a time."""

import gzip
import io
from typing import Any

import pytest

from wsgiapp.errors import Overloaded
from wsgiapp.web.body_memory import BodyMemory
from wsgiapp.web.request import Request

LIMIT = 1_000_000
BODY = b"x" * 400_000


def request(bodies: BodyMemory, body: bytes = BODY, **variables: Any) -> Request:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/predict",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    return Request({**environ, **variables}, LIMIT, bodies=bodies)


def test_one_more_is_rejected_before_it_is_read() -> None:
    bodies = BodyMemory(LIMIT)
    first, second, third = (request(bodies) for _ in range(3))
    assert first.body() == second.body() == BODY
    with pytest.raises(Overloaded, match="bodies of 800,000 bytes are being answered"):
        third.body()
    assert third.environ["wsgi.input"].tell() == 0
    third.close()
    first.close()
    first.close()
    assert third.body() == BODY


def test_small_ones_do_not_count_and_a_single_one_always_fits() -> None:
    bodies = BodyMemory(100_000)
    large = request(bodies)
    assert large.body() == BODY
    for _ in range(10):
        assert request(bodies, b"y" * 1000).body() == b"y" * 1000


@pytest.mark.parametrize("kind", ["chunked", "gzip"])
def test_what_is_known_only_when_it_is_read_counts_then(kind: str) -> None:
    bodies = BodyMemory(LIMIT)
    more: dict[str, Any] = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    sent = BODY
    if kind == "gzip":
        sent = gzip.compress(BODY)
        more = {"HTTP_CONTENT_ENCODING": "gzip"}
    held = [request(bodies, sent, **more) for _ in range(2)]
    assert [each.body() for each in held] == [BODY, BODY]
    with pytest.raises(Overloaded):
        request(bodies).body()
    for each in held:
        each.close()
    assert bodies._held == 0
