"""`Connection`: an HTTP/2 connection of a client, for requests with one body whose answers are whole (RFC 9113).

The event loop drives it: what can be read is taken apart in the loop's callback, and only the greenlet whose answer is
complete is woken. There is no thread and no greenlet between a caller and its socket. It does what calls need of the
protocol: that takes 0.03 ms of CPU a call, where h2, a library for all of it, takes 0.2 (measured).
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gevent.hub import get_hub
from hpack.exceptions import HPACKError, OversizedHeaderListError

from wsgiapp.backend.http2.errors import (
    ConnectionLost,
    ExcessiveLoad,
    MessageTooLarge,
    ProtocolError,
    RequestNotProcessed,
    StreamReset,
)
from wsgiapp.backend.http2.frames import (
    ACK,
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_SIZE,
    DEFAULT_WINDOW_SIZE,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER,
    GOAWAY,
    GOAWAY_HEADER,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_ALLOWED_FRAME_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_BYTES,
    MAX_STREAM_ID,
    MAX_WINDOW_SIZE,
    PING,
    PING_BYTES,
    PREFACE,
    PRIORITY,
    PRIORITY_BYTES,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTING,
    SETTINGS,
    UINT32,
    WINDOW_UPDATE,
    decode_fields,
    uint32,
    window,
    without_padding,
)
from wsgiapp.backend.http2.glitches import GlitchLimit
from wsgiapp.backend.http2.outbox import Outbox
from wsgiapp.backend.http2.stream import Answer, Stream

UNKNOWN = -1  # until the server's SETTINGS have come
MAX_RECEIVED_FRAME_SIZE = 2**20  # bytes of a frame from the server: a mask of a megapixel comes in four
# Bytes of bodies that wait for the socket; more would only lie there, also after their calls were cancelled.
MAX_UNSENT_BYTES = 256 * 1024
# Of that, for each body that waits, however many there are.
MIN_SHARE_BYTES = 1024
RECEIVE_BUFFER_BYTES = 256 * 1024
# A DATA frame that is smaller, and not the last one, costs more than it brings.
MIN_DATA_BYTES = 64
# What the server may need of such frames for a large body that is sent to it, by each frame; and for its late answer to
# a call that was cancelled.
GLITCHES_PER_SENT_FRAME, GLITCHES_PER_CANCEL = 4, 16
MIN_SENT_BYTES = 1024
# A header block in so many frames of the usual 16 KiB has a mebibyte; smaller ones only cost (CVE-2024-27316).
MAX_CONTINUATIONS = 64
MAX_SETTINGS = 32  # of a frame: nghttp2's limit (CVE-2020-11080)
MAX_REASON_BYTES = 256  # of the text that a GOAWAY frame gives
# Until a stream that the server rejected with REFUSED_STREAM is opened again, which is safe: it did not process the
# request (RFC 9113, 8.7). grpcio's servers do so within their limit while they clear away streams that have ended.
REFUSED_STREAM_PAUSE_SECONDS = 0.01
# A connection whose peer acknowledges nothing is closed after these milliseconds (Linux's TCP_USER_TIMEOUT).
USER_TIMEOUT_MILLISECONDS = 20_000

GOING_AWAY = "the server closes the connection with GOAWAY"


class _HeaderBlock:
    """The start of a header block that CONTINUATION frames bring to its end, and what its HEADERS frame said."""

    __slots__ = ("data", "flags", "frames", "stream")

    def __init__(self, stream: int, flags: int, start: bytes) -> None:
        self.stream = stream
        self.flags = flags
        self.data = bytearray(start)
        self.frames = 0  # CONTINUATION


class Connection:
    """Requests over a connected socket, of one thread's event loop. A server's settings, pings and windows are obeyed.

    An answer's body may have `max_message_bytes`. Requests wait for the server's SETTINGS, and for room within its
    limits.
    """

    def __init__(self, connected: socket.socket, max_message_bytes: int) -> None:
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MILLISECONDS)
        self._socket = connected
        self._max_message_bytes = max_message_bytes
        self._close_reason = ""
        self._going_away = False
        self._loop = get_hub().loop
        self._readable = self._loop.io(connected.fileno(), 1)
        self._outbox = Outbox(connected, self._loop, self._send)
        self._put = self._outbox.put
        self._received = memoryview(bytearray(RECEIVE_BUFFER_BYTES))
        self._inbox = bytearray()
        self._header_block: _HeaderBlock | None = None  # one that goes on
        self._glitches = GlitchLimit()
        self._streams: dict[int, Stream] = {}
        self._unopened: deque[Stream] = deque()  # beyond what the server, or the socket, takes at a time
        self._refused_timer = self._loop.timer(REFUSED_STREAM_PAUSE_SECONDS)
        self._next_stream = 1
        self._max_streams = UNKNOWN
        self._window = self._initial_window = DEFAULT_WINDOW_SIZE
        self._max_frame_size = DEFAULT_FRAME_SIZE
        self._unacknowledged = 0  # bytes received since the server's window was last opened
        settings = {
            HEADER_TABLE_SIZE: 0,
            ENABLE_PUSH: 0,
            INITIAL_WINDOW_SIZE: MAX_WINDOW_SIZE,
            MAX_FRAME_SIZE: MAX_RECEIVED_FRAME_SIZE,
        }
        self._outbox.put_bytes(PREFACE)
        self._put(SETTINGS, 0, 0, b"".join(SETTING.pack(*setting) for setting in settings.items()))
        self._put(WINDOW_UPDATE, 0, 0, UINT32.pack(MAX_WINDOW_SIZE - DEFAULT_WINDOW_SIZE))
        self._readable.start(self._read)
        self._send()

    @property
    def takes_requests(self) -> bool:
        """False once it has ended, or the server is about to end it."""
        return not self._close_reason and not self._going_away

    def request(self, fields: bytes, pieces: Sequence[bytes], deadline: float) -> Answer:
        """The answer to a request with the header block `fields` and a body in pieces.

        `deadline` is a point of `time.monotonic()`. Raises `TimeoutError` when it passes, or one of `Http2Error`.
        """
        if not self.takes_requests:
            raise ConnectionLost(self._close_reason or GOING_AWAY)
        stream = Stream(fields, pieces)
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
                self._abandon(stream)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self, reason: str = "the connection was closed") -> None:
        """End it; requests under way raise `ConnectionLost`."""
        if self._close_reason:
            return
        self._close_reason = reason
        for watcher in (self._readable, self._refused_timer):
            watcher.stop()
            watcher.close()
        self._outbox.close()
        self._socket.close()
        for stream in [*self._streams.values(), *self._unopened]:
            self._finish(stream, ConnectionLost(reason))

    def _finish(self, stream: Stream, outcome: Any) -> None:
        """Wake the caller, soon: only the loop may."""
        if stream.answered:
            return
        stream.answered = True
        self._loop.run_callback(stream.waiter.switch, outcome)
        self._drop(stream)

    def _abandon(self, stream: Stream) -> None:
        """Its caller no longer waits."""
        if not self._close_reason:
            if stream.number in self._streams:
                self._cancel(stream)
            self._drop(stream)
            self._send()

    def _drop(self, stream: Stream) -> None:
        if self._streams.pop(stream.number, None) is None and stream in self._unopened:
            self._unopened.remove(stream)
        if self._going_away and not self._streams:
            self.close(GOING_AWAY)

    # What is sent.

    def _cancel(self, stream: Stream) -> None:
        self._glitches.forgive(GLITCHES_PER_CANCEL)
        self._put(RST_STREAM, 0, stream.number, UINT32.pack(CANCEL))

    def _send(self) -> None:
        """Send what may be sent now; the loop goes on with what the socket does not take."""
        try:
            while not self._close_reason and (self._outbox.buffers or self._fill()):
                if not self._outbox.send():
                    return
        except (BrokenPipeError, ConnectionResetError):
            self._going_away = True  # what the server sent before can still be read, and its end
            self._outbox.clear()
        except OSError as exc:
            self.close(exc.strerror or str(exc))
            return
        if not self._close_reason:
            self._outbox.wait_no_more()

    def _fill(self) -> bool:
        """Whether there was something to put into the empty outbox: new streams, and more of the bodies."""
        while self._unopened and len(self._streams) < self._max_streams and self.takes_requests:
            if self._refused_timer.active:
                break
            self._open(self._unopened.popleft())
        if self._window > 0 and (unsent := [stream for stream in self._streams.values() if stream.pieces]):
            share = max(MIN_SHARE_BYTES, min(self._window, MAX_UNSENT_BYTES) // len(unsent))
            for stream in unsent:
                self._put_body(stream, share)
        return bool(self._outbox.buffers)

    def _open(self, stream: Stream) -> None:
        stream.number = self._next_stream
        stream.pieces.extend(memoryview(piece) for piece in stream.request if piece)
        stream.window = self._initial_window
        self._streams[stream.number] = stream
        self._next_stream += 2
        if self._next_stream > MAX_STREAM_ID:
            self._going_away = True
        flags = END_HEADERS if stream.pieces else END_HEADERS | END_STREAM
        self._put(HEADERS, flags, stream.number, stream.fields)

    def _put_body(self, stream: Stream, share: int) -> None:
        """A share of it, as far as the windows let it through."""
        room = min(self._window, stream.window, share)
        while stream.pieces and room > 0:
            piece = stream.pieces[0][: min(room, self._max_frame_size)]
            rest = stream.pieces[0][len(piece) :]
            if rest:
                stream.pieces[0] = rest
            else:
                stream.pieces.popleft()
            self._put(DATA, 0 if stream.pieces else END_STREAM, stream.number, piece)
            if len(piece) >= MIN_SENT_BYTES:
                self._glitches.forgive(GLITCHES_PER_SENT_FRAME)
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
        except ProtocolError as exc:
            self._go_away(str(exc), exc.code)
        except HPACKError as exc:
            self._go_away(f"protocol error: {exc}", COMPRESSION_ERROR)
        except BaseException:  # the loop would not call again, and nobody would be told
            self.close("internal error of the client")
            raise
        else:
            self._send()

    def _go_away(self, problem: str, code: int) -> None:
        """End it, and tell the server why, if it takes what else there is to send."""
        self._put(GOAWAY, 0, 0, GOAWAY_HEADER.pack(0, code))
        with suppress(OSError):
            while self._outbox.buffers and self._outbox.send():
                pass
        self.close(problem)

    def _take_frames(self) -> None:
        at = 0
        while len(self._inbox) - at >= FRAME_HEADER.size and not self._close_reason:
            high, low, kind, flags, stream = FRAME_HEADER.unpack_from(self._inbox, at)
            size = high << 8 | low
            if self._max_streams == UNKNOWN and kind != SETTINGS:
                raise ProtocolError("the first frame is not SETTINGS")
            if size > MAX_RECEIVED_FRAME_SIZE:
                raise ProtocolError("frame exceeds SETTINGS_MAX_FRAME_SIZE")
            end = at + FRAME_HEADER.size + size
            if len(self._inbox) < end:
                break
            payload = bytes(memoryview(self._inbox)[at + FRAME_HEADER.size : end])
            at = end
            if self._header_block and kind != CONTINUATION:
                raise ProtocolError("header block interrupted by another frame")
            if take := self._TAKE.get(kind):
                take(self, flags, stream & MAX_STREAM_ID, payload)
            else:  # to be ignored (RFC 9113, 5.5), as PRIORITY is
                self._glitches.count()
        del self._inbox[:at]

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged > MAX_WINDOW_SIZE // 2:
            self._put(WINDOW_UPDATE, 0, 0, UINT32.pack(self._unacknowledged))
            self._unacknowledged = 0
        if len(payload) < MIN_DATA_BYTES and not flags & END_STREAM:
            self._glitches.count()
        stream = self._streams.get(number)
        if stream is None:  # one that was cancelled
            return
        payload = without_padding(flags, payload)
        if stream.headers is None:
            raise ProtocolError("response without HEADERS")
        stream.body.append(payload)
        stream.size += len(payload)
        if stream.size > self._max_message_bytes:
            self._cancel(stream)
            self._finish(stream, MessageTooLarge(f"more than {self._max_message_bytes} bytes"))
        elif flags & END_STREAM:
            self._complete(stream)

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        payload = without_padding(flags, payload)
        self._take_header_block(flags, number, payload[PRIORITY_BYTES:] if flags & PRIORITY else payload)

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        block = self._header_block
        if block is None or block.stream != number:
            raise ProtocolError("CONTINUATION without HEADERS")
        block.frames += 1
        block.data += payload
        if block.frames > MAX_CONTINUATIONS or len(block.data) > MAX_RECEIVED_FRAME_SIZE:
            raise ExcessiveLoad("header block too large")
        if flags & END_HEADERS:
            self._header_block = None
            self._take_header_block(block.flags | END_HEADERS, number, bytes(block.data))

    def _take_header_block(self, flags: int, number: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._header_block = _HeaderBlock(number, flags, block)
            return
        stream = self._streams.get(number)
        if stream is None:  # one that was cancelled
            self._glitches.count()
            return
        try:
            if len(block) > MAX_HEADER_LIST_BYTES:
                raise OversizedHeaderListError
            fields = decode_fields(block)
        except OversizedHeaderListError:  # no table was changed by it, so that other streams can go on
            self._cancel(stream)
            self._finish(stream, MessageTooLarge(f"more than {MAX_HEADER_LIST_BYTES} bytes of headers"))
            return
        if fields.get(":status", "").startswith("1"):  # an interim answer
            self._glitches.count()
            return
        if stream.headers is None:
            stream.headers = fields
        elif not flags & END_STREAM:
            raise ProtocolError("trailers without END_STREAM")
        stream.trailers = fields
        if flags & END_STREAM:
            self._complete(stream)

    def _complete(self, stream: Stream) -> None:
        if stream.headers is None or stream.trailers is None:
            raise ProtocolError("response without HEADERS")
        if stream.pieces:  # it was answered before it was sent
            self._cancel(stream)
        self._glitches.forgive()
        self._finish(stream, Answer(stream.headers, b"".join(stream.body), stream.trailers))

    def _take_reset(self, flags: int, number: int, payload: bytes) -> None:
        code = uint32(payload)
        stream = self._streams.get(number)
        if stream is None:
            self._glitches.count()
            return
        if code == REFUSED_STREAM and stream.headers is not None:  # it was processed, whatever the server says
            self._finish(stream, StreamReset(code))
        elif code == REFUSED_STREAM and self.takes_requests:
            self._glitches.count()
            del self._streams[number]
            stream.number = 0
            stream.pieces.clear()
            self._unopened.appendleft(stream)
            self._refused_timer.start(self._send, update=True)
        else:
            self._finish(stream, RequestNotProcessed(GOING_AWAY) if code == REFUSED_STREAM else StreamReset(code))

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        self._glitches.count()
        if flags & ACK:
            return
        if len(payload) % SETTING.size:
            raise ProtocolError("SETTINGS frame of invalid size")
        if len(payload) > MAX_SETTINGS * SETTING.size:
            raise ExcessiveLoad("too many settings in a frame")
        if self._max_streams == UNKNOWN:
            self._max_streams = MAX_STREAM_ID
        for key, value in SETTING.iter_unpack(payload):
            if key == MAX_CONCURRENT_STREAMS:
                self._max_streams = value
            elif key == MAX_FRAME_SIZE:
                if not DEFAULT_FRAME_SIZE <= value <= MAX_ALLOWED_FRAME_SIZE:
                    raise ProtocolError(f"invalid SETTINGS_MAX_FRAME_SIZE {value}")
                self._max_frame_size = value
            elif key == INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window = window(stream.window + value - self._initial_window)
                self._initial_window = window(value)
        self._outbox.put_ack(SETTINGS, b"")

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        self._glitches.count()
        if len(payload) != PING_BYTES:
            raise ProtocolError("PING frame of invalid size")
        if not flags & ACK:
            self._outbox.put_ack(PING, payload)

    def _take_goaway(self, flags: int, number: int, payload: bytes) -> None:
        """No new streams; the server processes those up to the last one that it names."""
        if len(payload) < GOAWAY_HEADER.size:
            raise ProtocolError("GOAWAY frame of invalid size")
        self._glitches.count()
        last, code = GOAWAY_HEADER.unpack_from(payload)
        text = payload[GOAWAY_HEADER.size :][:MAX_REASON_BYTES].decode("utf-8", "replace")
        reason = f"the server closes the connection with error code {code:#x}: {text}" if code else GOING_AWAY
        self._going_away = True
        left = [stream for stream in self._streams.values() if stream.number > last & MAX_STREAM_ID]
        unopened = [*self._unopened]
        self._unopened.clear()  # the connection may close with the first of them, and that must not end the others
        for stream in [*unopened, *left]:
            self._finish(stream, RequestNotProcessed(reason))
        if not self._streams:
            self.close(reason)

    def _take_window_update(self, flags: int, number: int, payload: bytes) -> None:
        self._glitches.count()
        more = uint32(payload) & MAX_WINDOW_SIZE
        if not more:
            raise ProtocolError("WINDOW_UPDATE increment 0")
        if not number:
            self._window = window(self._window + more)
        elif stream := self._streams.get(number):
            stream.window = window(stream.window + more)

    def _take_push_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise ProtocolError("PUSH_PROMISE although SETTINGS_ENABLE_PUSH is 0")

    _TAKE: Mapping[int, Callable[["Connection", int, int, bytes], None]] = {
        DATA: _take_data,
        HEADERS: _take_headers,
        RST_STREAM: _take_reset,
        SETTINGS: _take_settings,
        PUSH_PROMISE: _take_push_promise,
        PING: _take_ping,
        GOAWAY: _take_goaway,
        WINDOW_UPDATE: _take_window_update,
        CONTINUATION: _take_continuation,
    }
