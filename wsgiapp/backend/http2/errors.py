"""The exceptions of an HTTP/2 connection.

Http2Error
├── ConnectionLost           the connection ended under a request, or there is none
│   └── RequestNotProcessed  ... and the server did not process the request: it may be sent over another one
├── StreamReset              the server ended the stream with an error code
├── MessageTooLarge          the answer's body, or a header list of it, is over the limit
└── ProtocolError            the server broke a rule of RFC 9113; it ends the connection
    └── ExcessiveLoad        ... or it keeps the rules, and the client busy
"""


class Http2Error(Exception):
    """The root: catching it catches whatever a connection raises on purpose."""


class ConnectionLost(Http2Error):
    """Raised for a request whose connection ended, or for which there is none."""


class RequestNotProcessed(ConnectionLost):
    """Raised when the server ends the connection and did not process the request (RFC 9113, 8.7)."""


class StreamReset(Http2Error):
    """Raised when the server ended the stream with RST_STREAM; `code` is its error code (RFC 9113, 7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server reset the stream with error code {code:#x}")
        self.code = code


class MessageTooLarge(Http2Error):
    """Raised when the answer's body or header list has more bytes than the connection accepts."""


class ProtocolError(Http2Error):
    """Raised for what RFC 9113 does not allow a server; the text is the reason for which the connection is closed.

    `code` is the error code that the server is told (RFC 9113, 7).
    """

    code = 0x1  # PROTOCOL_ERROR

    def __init__(self, problem: str) -> None:
        super().__init__(f"protocol error: {problem}")


class ExcessiveLoad(ProtocolError):
    """Raised for a flood: frames that are allowed, in a number that serves no call."""

    code = 0xB  # ENHANCE_YOUR_CALM
