"""`Stream` and `Answer`: one request, from its start to its answer."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from gevent.hub import Waiter

from wsgiapp.backend.http2.frames import Fields


class Answer(NamedTuple):
    """`trailers` are the headers themselves where there are none."""

    headers: Fields
    body: bytes
    trailers: Fields


class Stream:
    """A request with the header block `fields` and a body in pieces; `number` is 0 until it is opened."""

    __slots__ = (
        "answered",
        "body",
        "fields",
        "headers",
        "number",
        "pieces",
        "request",
        "size",
        "trailers",
        "waiter",
        "window",
    )

    def __init__(self, fields: bytes, request: Sequence[bytes]) -> None:
        self.number = 0
        self.fields = fields
        self.request = request
        self.pieces: deque[memoryview] = deque()  # of it, not sent yet
        self.window = 0
        self.headers: Fields | None = None
        self.trailers: Fields | None = None
        self.body: list[bytes] = []
        self.size = 0  # of the body
        self.answered = False
        self.waiter = Waiter()
