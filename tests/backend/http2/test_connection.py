"""Requests and answers over one connection, with a scripted server."""

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from hpack import Decoder, Encoder

from support.http2_peer import (
    ALTERNATIVE_SERVICE,
    DONE,
    MAX_BYTES,
    OK,
    PRIORITY_FRAME,
    Frame,
    Peer,
    answer,
    frame,
    number,
    outcome,
    request,
    still_works,
)
from wsgiapp.backend.http2 import connection
from wsgiapp.backend.http2.connection import Connection
from wsgiapp.backend.http2.errors import ConnectionLost, MessageTooLarge, RequestNotProcessed, StreamReset
from wsgiapp.backend.http2.frames import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    decode_fields,
    encode_fields,
)
from wsgiapp.backend.http2.stream import Answer


def test_the_first_words() -> None:
    peer = Peer()
    settings = peer.hear()
    assert peer.greeted == PREFACE
    assert settings[:3] == (SETTINGS, 0, 0)
    said = dict(struct.iter_unpack(">HL", settings.payload))
    assert said == {
        HEADER_TABLE_SIZE: 0,
        connection.ENABLE_PUSH: 0,
        INITIAL_WINDOW_SIZE: 2**31 - 1,
        MAX_FRAME_SIZE: 2**20,
    }
    assert peer.hear() == Frame(WINDOW_UPDATE, 0, 0, number(2**31 - 1 - 65_535))
    gevent.sleep(0)
    assert peer.hear() == Frame(SETTINGS, ACK, 0, b"")
    peer.say(frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, b"nobody's") + frame(PING, 0, 0, b"12345678"))
    assert peer.hear() == Frame(PING, ACK, 0, b"12345678")
    peer.close()


def test_a_request_waits_for_the_servers_settings_and_is_said_with_one_call() -> None:
    near, far = socket.socketpair()
    connection = Connection(near, MAX_BYTES)
    caller = gevent.spawn(request, connection, b"body")
    gevent.sleep(0)
    assert HEADERS not in {each.kind for each in frames(far.recv(2**16)[len(PREFACE) :])}
    far.sendall(frame(SETTINGS, 0, 0, struct.pack(">HL", MAX_CONCURRENT_STREAMS, 100)))
    while not (heard := _received(far)):
        gevent.sleep(0.001)
    assert [each.kind for each in frames(heard)] == [SETTINGS, HEADERS, DATA]
    connection.close()
    assert isinstance(outcome(caller), ConnectionLost)
    far.close()


def _received(far: socket.socket) -> bytes:
    try:
        return far.recv(2**16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def frames(data: bytes) -> Iterator[Frame]:
    while data:
        end = 9 + int.from_bytes(data[:3], "big")
        yield Frame(data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:end])
        data = data[end:]


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 129, 254, 255, 256, 16_383, 16_384, 16_511, 16_512, 60_000])
def test_fields_of_any_length(size: int) -> None:
    fields = {"name": "v" * size, "n" * max(1, size): "value"}
    block = encode_fields(fields)
    assert dict(Decoder(2**20).decode(block)) == fields
    if size < 30_000:
        assert decode_fields(block) == fields


# What is heard.


def test_many_ways_to_say_the_same(peer: Peer) -> None:
    """Padding, priorities, header blocks in pieces, interim answers, Huffman's code, frames nobody knows."""
    headers, trailers = {":status": "200", "content-type": "application/grpc"}, {"grpc-status": "0", "x": "y"}
    head, tail = encode_fields(headers), encode_fields(trailers)
    huffman = Encoder()
    huffman.header_table_size = 0
    ends = END_HEADERS | END_STREAM

    def padded(payload: bytes, size: int = 7) -> bytes:
        return bytes([size]) + payload + bytes(size)

    ways: list[Callable[[int], bytes]] = [
        lambda n: frame(HEADERS, END_HEADERS, n, head) + frame(DATA, 0, n, b"body") + frame(HEADERS, ends, n, tail),
        lambda n: (
            frame(HEADERS, END_HEADERS | PADDED | PRIORITY, n, padded(b"\0\0\0\0\x10" + head, 255))
            + frame(DATA, PADDED, n, padded(b"body"))
            + frame(DATA, PADDED, n, padded(b"", 0))
            + frame(HEADERS, ends | PADDED, n, padded(tail))
        ),
        lambda n: (
            frame(HEADERS, 0, n, head[:3])
            + frame(CONTINUATION, 0, n, head[3:10])
            + frame(CONTINUATION, 0, n)
            + frame(CONTINUATION, END_HEADERS, n, head[10:])
            + frame(DATA, 0, n, b"body")
            + frame(HEADERS, END_STREAM, n, tail[:1])
            + frame(CONTINUATION, END_HEADERS, n, tail[1:])
        ),
        lambda n: (
            frame(HEADERS, END_HEADERS, n, encode_fields({":status": "100"}))
            + frame(HEADERS, END_HEADERS, n, encode_fields({":status": "103", "link": "x"}))
            + frame(PRIORITY_FRAME, 0, n, bytes(5))
            + frame(HEADERS, END_HEADERS, n, head)
            + frame(ALTERNATIVE_SERVICE, 0xFF, n, b"whatever")
            + frame(0xEE, 0xFF, 2**31 + 5, b"")
            + b"".join(frame(DATA, 0, n, bytes([byte])) + frame(DATA, 0, n) for byte in b"body")
            + frame(HEADERS, ends, n, tail)
        ),
        lambda n: (
            frame(HEADERS, END_HEADERS, n, b"\x20" + huffman.encode(list(headers.items())))
            + frame(SETTINGS, 0, 0, struct.pack(">HL", 0xABCD, 5))
            + frame(DATA, 0, n, b"body")
            + frame(HEADERS, ends, n, b"\x20\x20" + huffman.encode(list(trailers.items())))
        ),
    ]
    for way in ways:
        for piece in (10**6, 1):  # at a time
            caller = peer.ask(b"question")
            stream, body = peer.hear_request()
            assert body == b"question"
            said = way(stream)
            for at in range(0, len(said), piece):
                peer.say(said[at : at + piece])
                gevent.sleep(0)
            assert outcome(caller) == Answer(headers, b"body", trailers)


def test_an_answer_without_a_body_or_without_trailers(peer: Peer) -> None:
    caller = peer.ask()
    peer.say(frame(HEADERS, END_HEADERS | END_STREAM, peer.hear_request()[0], DONE))
    assert outcome(caller) == Answer({"grpc-status": "0"}, b"", {"grpc-status": "0"})
    caller = peer.ask()
    stream, _ = peer.hear_request()
    peer.say(frame(HEADERS, END_HEADERS, stream, OK) + frame(DATA, END_STREAM, stream, b"page"))
    assert outcome(caller) == Answer({":status": "200"}, b"page", {":status": "200"})


def test_answers_come_in_any_order(peer: Peer) -> None:
    callers = [peer.ask(str(i).encode()) for i in range(20)]
    asked = [peer.hear_request() for _ in callers]
    random.Random(1).shuffle(asked)
    for stream, _ in asked:
        peer.say(frame(HEADERS, END_HEADERS, stream, OK))
    for stream, body in reversed(asked):
        peer.say(frame(DATA, 0, stream, b"about " + body) + frame(HEADERS, END_HEADERS | END_STREAM, stream, DONE))
    assert [outcome(caller).body for caller in callers] == [f"about {i}".encode() for i in range(20)]


def test_a_value_that_is_no_text(peer: Peer) -> None:
    caller = peer.ask()
    peer.say(frame(HEADERS, END_HEADERS | END_STREAM, peer.hear_request()[0], b"\0\x01x\x02\xff\xfe"))
    assert outcome(caller).headers == {"x": "\N{REPLACEMENT CHARACTER}" * 2}


def test_an_answer_that_is_too_long_harms_no_other(peer: Peer) -> None:
    for part in (frame(DATA, 0, 0, bytes(MAX_BYTES // 2 + 1)) * 2, frame(HEADERS, END_HEADERS, 0, DONE * 3000)):
        other, caller = peer.ask(), peer.ask()
        (first, _), (second, _) = peer.hear_request(), peer.hear_request()
        addressed = b"".join(frame(each.kind, each.flags, second, each.payload) for each in frames(part))
        peer.say(frame(HEADERS, END_HEADERS, second, OK) + addressed + frame(DATA, 0, second, b"more"))
        assert isinstance(outcome(caller), MessageTooLarge)
        assert peer.hear(RST_STREAM) == Frame(RST_STREAM, 0, second, number(CANCEL))
        peer.say(answer(first, bytes(MAX_BYTES)))
        assert len(outcome(other).body) == MAX_BYTES


def test_an_answer_before_the_request_was_sent(make_peer: Callable[..., Peer]) -> None:
    peer = make_peer(INITIAL_WINDOW_SIZE=3)
    caller = peer.ask(b"a long body")
    stream = peer.hear(HEADERS).stream
    assert peer.hear(DATA).payload == b"a l"
    peer.say(answer(stream, b"no, thank you"))
    assert outcome(caller).body == b"no, thank you"
    assert peer.hear(RST_STREAM) == Frame(RST_STREAM, 0, stream, number(CANCEL))
    peer.set({INITIAL_WINDOW_SIZE: 100})
    assert still_works(peer)


def test_a_reset_concerns_its_stream_alone(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask()]
    (first, _), (second, _) = peer.hear_request(), peer.hear_request()
    peer.say(frame(RST_STREAM, 0, first, number(2)) + frame(RST_STREAM, 0, 99, number(2)) + answer(second))
    assert isinstance(reset := outcome(callers[0]), StreamReset) and reset.code == 2
    assert outcome(callers[1]).body == b""


def test_a_stream_with_refused_stream_is_opened_again_after_a_pause(peer: Peer) -> None:
    caller, short = peer.ask(b"question"), peer.ask(b"short", 0.05)
    assert peer.hear_request() == (1, b"question")
    started = time.monotonic()
    peer.say(frame(RST_STREAM, 0, 1, number(REFUSED_STREAM)) + frame(RST_STREAM, 0, 3, number(REFUSED_STREAM)))
    while peer.hear_request()[1] == b"short":
        pass
    assert time.monotonic() - started >= connection.REFUSED_STREAM_PAUSE_SECONDS
    assert isinstance(outcome(short), TimeoutError)
    peer.say(answer(5) + answer(7))
    assert isinstance(outcome(caller), Answer)
    assert not peer.connection._streams and not peer.connection._unopened


def test_refused_stream_by_a_server_that_goes_away(peer: Peer) -> None:
    callers = [peer.ask(), peer.ask()]
    assert [peer.hear_request()[0] for _ in callers] == [1, 3]
    peer.say(frame(RST_STREAM, 0, 1, number(REFUSED_STREAM)) + frame(GOAWAY, 0, 0, number(3) + number(0)))
    peer.say(frame(RST_STREAM, 0, 3, number(REFUSED_STREAM)))
    assert [type(outcome(caller)) for caller in callers] == [RequestNotProcessed, RequestNotProcessed]
    assert peer.is_left()
