"""Frames and header blocks of HTTP/2 as bytes (RFC 9113, 4 to 6; RFC 7541)."""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct

from hpack import Decoder
from hpack.exceptions import HPACKDecodingError

from wsgiapp.backend.http2.errors import ProtocolError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER = Struct(">HBBBL")  # length (two high bytes, one low), type, flags, stream identifier
SETTING = Struct(">HL")  # identifier, value
UINT32 = Struct(">L")
GOAWAY_HEADER = Struct(">LL")  # the last stream that the server processes, an error code

# Frame types (6).
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
# Flags.
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
# Settings (6.5.2).
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 3, 4, 5
# Error codes (7).
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 0x7, 0x8, 0x9

MAX_WINDOW_SIZE = MAX_STREAM_ID = 2**31 - 1
DEFAULT_WINDOW_SIZE = 65_535
DEFAULT_FRAME_SIZE = 16_384
MAX_ALLOWED_FRAME_SIZE = 2**24 - 1
PRIORITY_BYTES = 5
PING_BYTES = 8
# Of a header list, as RFC 9113 counts them (6.5.2); grpcio takes 16 kB. The status message of a call is among them.
MAX_HEADER_LIST_BYTES = 64 * 1024

# A header block that is longer is not worth remembering.
MAX_CACHED_BLOCK_BYTES = 4096
# Without a dynamic table a server has nothing to change; RFC 7541, 4.2, allows two updates at the start of a block.
TOO_MANY_TABLE_UPDATES = b"\x20" * 3

Fields = Mapping[str, str]


def encode_fields(fields: Fields) -> bytes:
    """A header block without references to a table (RFC 7541, 6.2.2), which can be made once and sent again."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())


def decode_fields(block: bytes) -> Fields:
    """The fields of a header block that uses no dynamic table; a server's blocks repeat themselves.

    Raises `HPACKError`, and `OversizedHeaderListError` among them.
    """
    return _remembered(block) if len(block) <= MAX_CACHED_BLOCK_BYTES else _decode(block)


def _decode(block: bytes) -> Fields:
    if block.startswith(TOO_MANY_TABLE_UPDATES):
        raise HPACKDecodingError("more than two table size updates")
    decoder = Decoder(MAX_HEADER_LIST_BYTES)
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    fields = decoder.decode(block, raw=True)  # a value is bytes, and need not be text
    return {str(name, "utf-8", "replace"): str(value, "utf-8", "replace") for name, value in fields}


_remembered = lru_cache(maxsize=256)(_decode)


def uint32(payload: bytes) -> int:
    """The number that is the whole payload of a RST_STREAM or WINDOW_UPDATE frame."""
    if len(payload) != UINT32.size:
        raise ProtocolError("invalid frame size")
    return int(UINT32.unpack(payload)[0])


def window(size: int) -> int:
    """A flow-control window's size, checked (6.9.1)."""
    if size > MAX_WINDOW_SIZE:
        raise ProtocolError("flow-control window over 2^31-1")
    return size


def without_padding(flags: int, payload: bytes) -> bytes:
    """The payload of a DATA or HEADERS frame without its padding (6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("padding exceeds the payload")
    return payload[1 : len(payload) - payload[0]]


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
