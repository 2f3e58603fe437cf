"""`Outbox`: frames on their way to the socket."""

import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from wsgiapp.backend.http2.errors import ExcessiveLoad
from wsgiapp.backend.http2.frames import ACK, FRAME_HEADER

MAX_BUFFERS = 1024  # as many as one sendmsg() takes
MAX_UNSENT_ACKS = 1000  # nghttp2's limit (CVE-2019-9512 and 9515)


class Outbox:
    """Sends frames over a non-blocking socket; `on_writable` is called when the socket takes more."""

    def __init__(self, connected: socket.socket, loop: Any, on_writable: Callable[[], None]) -> None:
        self._socket = connected
        self.buffers: deque[bytes | memoryview] = deque()  # not sent yet
        self.acks = 0  # of them, at most
        self._on_writable = on_writable
        self._writable = loop.io(connected.fileno(), 2)

    def put_bytes(self, data: bytes) -> None:
        """Bytes that are no frame."""
        self.buffers.append(data)

    def put(self, kind: int, flags: int, stream: int, payload: bytes | memoryview) -> None:
        """A frame."""
        size = len(payload)
        self.buffers.append(FRAME_HEADER.pack(size >> 8, size & 255, kind, flags, stream))
        if size:
            self.buffers.append(payload)

    def put_ack(self, kind: int, payload: bytes) -> None:
        """A frame that acknowledges one of the server's. Raises `ExcessiveLoad` where it does not take the others."""
        self.acks += 1
        if self.acks > MAX_UNSENT_ACKS:
            raise ExcessiveLoad("frames that ask for an answer, and nobody who reads it")
        self.put(kind, ACK, 0, payload)

    def send(self) -> bool:
        """Send what the socket takes; whether it took a part of it, and may take more. Raises `OSError`."""
        try:
            sent = self._socket.sendmsg(list(islice(self.buffers, MAX_BUFFERS)))
        except BlockingIOError:
            if not self._writable.active:
                self._writable.start(self._on_writable)
            return False
        while sent:
            size = len(self.buffers[0])
            if sent < size:
                self.buffers[0] = memoryview(self.buffers[0])[sent:]
                break
            self.buffers.popleft()
            sent -= size
        if not self.buffers:
            self.acks = 0
        return True

    def wait_no_more(self) -> None:
        """All is sent: `on_writable` need not be called."""
        if self._writable.active:
            self._writable.stop()

    def clear(self) -> None:
        """Forget what is not sent."""
        self.buffers.clear()
        self.acks = 0

    def close(self) -> None:
        """Stop watching the socket."""
        self._writable.stop()
        self._writable.close()
