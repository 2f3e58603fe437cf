"""`Connection`: an HTTP/2 connection of a client, for requests with one body whose answers are whole (RFC 9113).

The event loop drives it: what can be read is taken apart in the loop's callback, and only the greenlet whose answer is
complete is woken. There is no thread and no greenlet between a caller and its socket. It does what calls need of the
protocol: that takes 0.03 ms of CPU a call, where h2, a library for all of it, takes 0.2 (measured).
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import Any, NamedTuple

from gevent.hub import Waiter, get_hub
from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = Struct(">HBBBL")  # a frame's head: length (two high bytes, one low), type, flags, stream
SETTING = Struct(">HL")
NUMBER = Struct(">L")
GOING = Struct(">LL")  # of GOAWAY: the last stream that the server looks after, an error code

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, MOST_STREAMS, INITIAL_WINDOW, FRAME_SIZE = 1, 2, 3, 4, 5
REFUSED, CANCEL = 0x7, 0x8
UNKNOWN = -1  # how many streams a server takes, until its settings have come

LARGEST_WINDOW = LAST_STREAM = 2**31 - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
LARGEST_FRAME = 2**20  # bytes of a frame from the server: a mask of a megapixel comes in four
MOST_FRAME = 2**24 - 1  # that a server may allow
# Bytes of bodies that wait for the socket; more would only lie there, also after their callers have given up.
MOST_UNSENT = 256 * 1024
# Of that, for each body that waits, however many there are.
LEAST_SHARE = 1024
# Of a header list, as RFC 9113 counts them (6.5.2); grpcio takes 16 kB. The model server's words are among them.
MOST_HEADER_BYTES = 64 * 1024
# As many as one sendmsg() takes.
MOST_PIECES = 1024
RECEIVE_BYTES = 256 * 1024
# Until a stream that the server refused is opened again. It did not look at the request, so that this harms nothing
# (RFC 9113, 8.7); grpcio's servers refuse streams within their limit while they clear away others that have ended.
REFUSED_PAUSE_SECONDS = 0.01
# A server that has vanished without a word is given up after these milliseconds (Linux's TCP_USER_TIMEOUT).
UNACKNOWLEDGED_MILLISECONDS = 20_000

ENDING = "the server ends the connection"

Fields = Mapping[str, str]


class Lost(Exception):
    """The connection ended under a request, or there is none."""


class Unserved(Lost):
    """The server ends the connection and has not looked at the request, which may be sent over another one."""


class Reset(Exception):
    """The server ended the stream with an HTTP/2 error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the stream with code {code}")
        self.code = code


class TooLong(Exception):
    """The answer's body, or a header list of it, is longer than the connection takes."""


class Answer(NamedTuple):
    """`trailers` are the headers themselves where there are none."""

    headers: Fields
    body: bytes
    trailers: Fields


class _ProtocolError(Exception):
    """The server does what no HTTP/2 server may."""


class _Stream:
    """One request, from `request` to its answer."""

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


def encode_fields(fields: Mapping[str, str]) -> bytes:
    """A header block that uses no table (RFC 7541, 6.2.2), so that it can be made once and sent again and again."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())


@lru_cache(maxsize=256)
def decode_fields(block: bytes) -> Fields:
    """The fields of a header block that uses no dynamic table; a server's blocks repeat themselves.

    Raises `HPACKError`, and `OversizedHeaderListError` among them.
    """
    decoder = Decoder(MOST_HEADER_BYTES)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    fields = decoder.decode(block, raw=True)  # a value is bytes, and need not be text
    return {str(name, "utf-8", "replace"): str(value, "utf-8", "replace") for name, value in fields}


class Connection:
    """Requests over a connected socket, of one thread's event loop. A server's settings, pings and windows are obeyed.

    An answer's body may have `most_bytes`. Requests wait for the server's settings, and for room within its limits.
    """

    def __init__(self, connected: socket.socket, most_bytes: int) -> None:
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
        self._socket = connected
        self._most_bytes = most_bytes
        self._end_reason = ""
        self._going_away = False
        self._loop = get_hub().loop
        self._readable = self._loop.io(connected.fileno(), 1)
        self._writable = self._loop.io(connected.fileno(), 2)
        self._outbox: deque[bytes | memoryview] = deque()
        self._received = memoryview(bytearray(RECEIVE_BYTES))
        self._inbox = bytearray()
        self._header_block: tuple[int, int, bytes] | None = None  # the stream, flags and start of one that goes on
        self._streams: dict[int, _Stream] = {}
        self._unopened: deque[_Stream] = deque()  # beyond what the server, or the socket, takes at a time
        self._refused = self._loop.timer(REFUSED_PAUSE_SECONDS)
        self._next_stream = 1
        self._most_streams = UNKNOWN
        self._window = self._first_window = DEFAULT_WINDOW
        self._frame_size = DEFAULT_FRAME
        self._unreported = 0  # bytes received since the server's window was last opened
        settings = {TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW: LARGEST_WINDOW, FRAME_SIZE: LARGEST_FRAME}
        self._outbox.append(PREFACE)
        self._put(SETTINGS, 0, 0, b"".join(SETTING.pack(*setting) for setting in settings.items()))
        self._put(WINDOW_UPDATE, 0, 0, NUMBER.pack(LARGEST_WINDOW - DEFAULT_WINDOW))
        self._readable.start(self._read)
        self._send()

    @property
    def takes_requests(self) -> bool:
        """False once it has ended, or the server is about to end it."""
        return not self._end_reason and not self._going_away

    def request(self, fields: bytes, pieces: Sequence[bytes], deadline: float) -> Answer:
        """The answer to a request with the header block `fields` and a body in pieces.

        `deadline` is a point of `time.monotonic()`. Raises `TimeoutError` when it passes, `Lost`, `Reset` or `TooLong`.
        """
        if not self.takes_requests:
            raise Lost(self._end_reason or ENDING)
        stream = _Stream(fields, pieces)
        alarm = self._loop.timer(max(0.0, deadline - time.monotonic()))
        try:
            # The loop's own clock stood still while it was busy, and the alarm would go off early.
            alarm.start(stream.waiter.switch, TimeoutError(), update=True)
            self._unopened.append(stream)
            self._send()
            outcome = stream.waiter.get()
        finally:
            alarm.close()
            if not stream.answered:
                self._forget(stream)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self, reason: str = "the connection was closed") -> None:
        """End it; requests under way raise `Lost`."""
        if self._end_reason:
            return
        self._end_reason = reason
        for watcher in (self._readable, self._writable, self._refused):
            watcher.stop()
            watcher.close()
        self._socket.close()
        for stream in [*self._streams.values(), *self._unopened]:
            self._finish(stream, Lost(reason))

    def _finish(self, stream: _Stream, outcome: Any) -> None:
        """Wake the caller, soon: only the loop may."""
        if stream.answered:
            return
        stream.answered = True
        self._loop.run_callback(stream.waiter.switch, outcome)
        self._drop(stream)

    def _forget(self, stream: _Stream) -> None:
        """Its caller waits no more."""
        if not self._end_reason:
            if stream.number in self._streams:
                self._cancel(stream)
            self._drop(stream)
            self._send()

    def _drop(self, stream: _Stream) -> None:
        if self._streams.pop(stream.number, None) is None and stream in self._unopened:
            self._unopened.remove(stream)
        if self._going_away and not self._streams:
            self.close(ENDING)

    # What is sent.

    def _put(self, kind: int, flags: int, stream: int, payload: bytes | memoryview) -> None:
        size = len(payload)
        self._outbox.append(FRAME.pack(size >> 8, size & 255, kind, flags, stream))
        if size:
            self._outbox.append(payload)

    def _cancel(self, stream: _Stream) -> None:
        self._put(RST_STREAM, 0, stream.number, NUMBER.pack(CANCEL))

    def _send(self) -> None:
        """Send what may be sent now; the loop goes on with what the socket does not take."""
        while not self._end_reason and (self._outbox or self._fill()):
            try:
                sent = self._socket.sendmsg(list(islice(self._outbox, MOST_PIECES)))
            except BlockingIOError:
                if not self._writable.active:
                    self._writable.start(self._send)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._going_away = True  # what the server said before can still be read, and its end
                self._outbox.clear()
                break
            except OSError as exc:
                self.close(exc.strerror or str(exc))
                return
            while sent:
                size = len(self._outbox[0])
                if sent < size:
                    self._outbox[0] = memoryview(self._outbox[0])[sent:]
                    break
                self._outbox.popleft()
                sent -= size
        if self._writable.active:
            self._writable.stop()

    def _fill(self) -> bool:
        """Whether there was something to put into the empty outbox: new streams, and more of the bodies."""
        while self._unopened and len(self._streams) < self._most_streams and self.takes_requests:
            if self._refused.active:
                break
            self._open(self._unopened.popleft())
        if self._window > 0 and (unsent := [stream for stream in self._streams.values() if stream.pieces]):
            share = max(LEAST_SHARE, min(self._window, MOST_UNSENT) // len(unsent))
            for stream in unsent:
                self._put_body(stream, share)
        return bool(self._outbox)

    def _open(self, stream: _Stream) -> None:
        stream.number = self._next_stream
        stream.pieces.extend(memoryview(piece) for piece in stream.request if piece)
        stream.window = self._first_window
        self._streams[stream.number] = stream
        self._next_stream += 2
        if self._next_stream > LAST_STREAM:
            self._going_away = True
        flags = END_HEADERS if stream.pieces else END_HEADERS | END_STREAM
        self._put(HEADERS, flags, stream.number, stream.fields)

    def _put_body(self, stream: _Stream, share: int) -> None:
        """A share of it, as far as the windows let it through."""
        room = min(self._window, stream.window, share)
        while stream.pieces and room > 0:
            piece = stream.pieces[0][: min(room, self._frame_size)]
            rest = stream.pieces[0][len(piece) :]
            if rest:
                stream.pieces[0] = rest
            else:
                stream.pieces.popleft()
            self._put(DATA, 0 if stream.pieces else END_STREAM, stream.number, piece)
            room -= len(piece)
            self._window -= len(piece)
            stream.window -= len(piece)

    # What is received.

    def _read(self) -> None:
        try:
            count = self._socket.recv_into(self._received)
            if not count:
                self.close("the server closed the connection")
                return
            self._inbox += self._received[:count]
            self._take_frames()
        except BlockingIOError:
            return
        except OSError as exc:
            self.close(exc.strerror or str(exc))
        except (_ProtocolError, HPACKError) as exc:
            self.close(f"the server does not speak HTTP/2 rightly: {exc}")
        except BaseException:  # the loop would not call again, and nobody would be told
            self.close("the client failed at the server's words")
            raise
        else:
            self._send()

    def _take_frames(self) -> None:
        at = 0
        while len(self._inbox) - at >= FRAME.size and not self._end_reason:
            high, low, kind, flags, stream = FRAME.unpack_from(self._inbox, at)
            size = high << 8 | low
            if self._most_streams == UNKNOWN and kind != SETTINGS:
                raise _ProtocolError("it does not begin with its settings")
            if size > LARGEST_FRAME:
                raise _ProtocolError("a frame is too large")
            end = at + FRAME.size + size
            if len(self._inbox) < end:
                break
            payload = bytes(memoryview(self._inbox)[at + FRAME.size : end])
            at = end
            if self._header_block and kind != CONTINUATION:
                raise _ProtocolError("a header block is interrupted")
            if take := self._TAKE.get(kind):  # others are to be ignored
                take(self, flags, stream & LAST_STREAM, payload)
        del self._inbox[:at]

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._unreported += len(payload)
        if self._unreported > LARGEST_WINDOW // 2:
            self._put(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._unreported))
            self._unreported = 0
        stream = self._streams.get(number)
        if stream is None:  # one that was given up
            return
        payload = _without_padding(flags, payload)
        stream.body.append(payload)
        stream.size += len(payload)
        if stream.size > self._most_bytes:
            self._cancel(stream)
            self._finish(stream, TooLong(f"more than {self._most_bytes} bytes"))
        elif flags & END_STREAM:
            self._complete(stream)

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        payload = _without_padding(flags, payload)
        self._take_header_block(flags, number, payload[5:] if flags & PRIORITY else payload)

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._header_block is None or self._header_block[0] != number:
            raise _ProtocolError("a continuation of nothing")
        _, first_flags, start = self._header_block
        if len(start) > LARGEST_FRAME:
            raise _ProtocolError("a header block is too large")
        self._header_block = None
        self._take_header_block(first_flags & ~END_HEADERS | flags & END_HEADERS, number, start + payload)

    def _take_header_block(self, flags: int, number: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._header_block = (number, flags, block)
            return
        stream = self._streams.get(number)
        if stream is None:  # one that was given up
            return
        try:
            fields = decode_fields(block)
        except OversizedHeaderListError:  # no table was changed by it, so that other streams can go on
            self._cancel(stream)
            self._finish(stream, TooLong(f"more than {MOST_HEADER_BYTES} bytes of headers"))
            return
        if fields.get(":status", "").startswith("1"):  # an interim answer
            return
        if stream.headers is None:
            stream.headers = fields
        stream.trailers = fields
        if flags & END_STREAM:
            self._complete(stream)

    def _complete(self, stream: _Stream) -> None:
        if stream.headers is None or stream.trailers is None:
            raise _ProtocolError("an answer without headers")
        if stream.pieces:  # it was answered before it was sent
            self._cancel(stream)
        self._finish(stream, Answer(stream.headers, b"".join(stream.body), stream.trailers))

    def _take_reset(self, flags: int, number: int, payload: bytes) -> None:
        code = _number(payload)
        stream = self._streams.get(number)
        if stream is None:
            return
        if code == REFUSED and self.takes_requests:
            del self._streams[number]
            stream.number = 0
            stream.pieces.clear()
            self._unopened.appendleft(stream)
            self._refused.start(self._send, update=True)
        else:
            self._finish(stream, Unserved(ENDING) if code == REFUSED else Reset(code))

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if flags & ACK:
            return
        if len(payload) % SETTING.size:
            raise _ProtocolError("settings of a wrong size")
        if self._most_streams == UNKNOWN:
            self._most_streams = LAST_STREAM
        for key, value in SETTING.iter_unpack(payload):
            if key == MOST_STREAMS:
                self._most_streams = value
            elif key == FRAME_SIZE:
                if not DEFAULT_FRAME <= value <= MOST_FRAME:
                    raise _ProtocolError(f"frames of {value} bytes")
                self._frame_size = value
            elif key == INITIAL_WINDOW:
                for stream in self._streams.values():
                    stream.window = _window(stream.window + value - self._first_window)
                self._first_window = _window(value)
        self._put(SETTINGS, ACK, 0, b"")

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if not flags & ACK:
            self._put(PING, ACK, 0, payload)

    def _take_going(self, flags: int, number: int, payload: bytes) -> None:
        """No new streams; the server looks after those up to the last one that it names."""
        if len(payload) < GOING.size:
            raise _ProtocolError("a GOAWAY of a wrong size")
        last, code = GOING.unpack_from(payload)
        text = payload[GOING.size :].decode("utf-8", "replace")
        reason = f"the server ends the connection with code {code}: {text}" if code else ENDING
        self._going_away = True
        left = [stream for stream in self._streams.values() if stream.number > last & LAST_STREAM]
        for stream in [*self._unopened, *left]:
            self._finish(stream, Unserved(reason))
        if not self._streams:
            self.close(reason)

    def _take_window(self, flags: int, number: int, payload: bytes) -> None:
        more = _number(payload) & LARGEST_WINDOW
        if not more:
            raise _ProtocolError("a window is opened by nothing")
        if not number:
            self._window = _window(self._window + more)
        elif stream := self._streams.get(number):
            stream.window = _window(stream.window + more)

    def _take_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise _ProtocolError("a push, which was declined")

    _TAKE: Mapping[int, Callable[["Connection", int, int, bytes], None]] = {
        DATA: _take_data,
        HEADERS: _take_headers,
        RST_STREAM: _take_reset,
        SETTINGS: _take_settings,
        PUSH_PROMISE: _take_promise,
        PING: _take_ping,
        GOAWAY: _take_going,
        WINDOW_UPDATE: _take_window,
        CONTINUATION: _take_continuation,
    }


def _string(text: str) -> bytes:
    """Its length, in seven bits and as many more as it takes (RFC 7541, 5.1), and the text."""
    data = text.encode("ascii")
    size = len(data)
    if size < 127:
        return bytes([size]) + data
    head = [127]
    size -= 127
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + data


def _number(payload: bytes) -> int:
    if len(payload) != NUMBER.size:
        raise _ProtocolError("a frame of a wrong size")
    return int(NUMBER.unpack(payload)[0])


def _window(size: int) -> int:
    if size > LARGEST_WINDOW:
        raise _ProtocolError("a window is opened too far")
    return size


def _without_padding(flags: int, payload: bytes) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _ProtocolError("more padding than payload")
    return payload[1 : len(payload) - payload[0]]
