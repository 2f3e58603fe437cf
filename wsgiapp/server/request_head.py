"""The head of an HTTP/1.x request as WSGI variables (RFC 9112, PEP 3333).

It is as strict as RFC 9112 lets it be: what two recipients could parse in two ways is rejected, because one of
them may be the proxy in front. It takes an eighth of the time of the standard library's parser for e-mail, which pywsgi
uses.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from wsgiapp.web.request import AUTHORITY, MAX_PATH_BYTES, path_of_target

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Anything but a single space between the words is rejected: RFC 9112, 3 warns of what other recipients take for space.
FORBIDDEN_IN_TARGET = bytes(range(0x21)) + b"\x7f"
VERSIONS = {version.encode() + end: version for version in ("HTTP/1.1", "HTTP/1.0") for end in (b"\r\n", b"\n")}
UNSUPPORTED_VERSION = re.compile(rb"HTTP/[0-9](\.[0-9])?\r?\n")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5
HOST = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]*")  # RFC 3986, 3.2.2 and 3.2.3
MAX_FIELD_LINE_BYTES = 65536
MAX_FIELDS_BYTES = 4 * MAX_FIELD_LINE_BYTES
MAX_FIELD_LINES = 100
# A second one could contradict the first about where this request ends, or for whom it is.
SINGLE_FIELDS = frozenset({"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_HOST", "CONTENT_TYPE"})
WITHOUT_PREFIX = {"HTTP_CONTENT_LENGTH": "CONTENT_LENGTH", "HTTP_CONTENT_TYPE": "CONTENT_TYPE"}
# Names as they were sent -> the variable's, or "" for a name that is left out. Clients make up names, so only so many
# are kept, and none that are longer; then all are forgotten, so that what one made up does not keep others out.
MAX_CACHED_NAMES = 1024
MAX_CACHED_NAME_BYTES = 64
_variable_names: dict[bytes, str] = {}


class MalformedRequest(ValueError):
    """Raised for what is not a request; `status` is the HTTP status to answer."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


def read_head(request_line: bytes, readline: Callable[[int], bytes]) -> dict[str, str]:
    """The variables that describe a request: REQUEST_METHOD, PATH_INFO, ..., and its headers.

    REQUEST_URI is the target as it was sent: percent-encoding tells a slash in a name from one between names.
    Raises `MalformedRequest`.
    """
    words = request_line.split(b" ")
    if len(words) != 3 or not TOKEN.fullmatch(words[0]):
        raise MalformedRequest("invalid request line")
    if len(words[1].translate(None, FORBIDDEN_IN_TARGET)) < len(words[1]):
        raise MalformedRequest("invalid character in the request target")
    method, target = words[0].decode("ascii"), words[1].decode("latin-1")
    version = VERSIONS.get(words[2])
    if version is None:
        raise MalformedRequest("unsupported HTTP version", 505 if UNSUPPORTED_VERSION.fullmatch(words[2]) else 400)
    path, _, query = target.partition("?")
    if len(path) > MAX_PATH_BYTES:
        raise MalformedRequest("the path is too long", 414)
    if not path.startswith("/"):
        path = _path_of(path)
    variables = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "REQUEST_URI": target,
        "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1") if "%" in path else path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": version,
    }
    _read_fields(variables, readline)
    host = variables.get("HTTP_HOST")
    if host is None:
        if version == "HTTP/1.1":
            raise MalformedRequest("missing Host header field")  # a server must reject it (RFC 9112, 3.2)
    elif not HOST.fullmatch(host):
        raise MalformedRequest("invalid Host header field")
    _check_length(variables)
    return variables


def _path_of(target: str) -> str:
    """The path of a target in another form than the usual: as proxies are sent it, or `*` (RFC 9112, 3.2)."""
    if AUTHORITY.match(target):
        return path_of_target(target)
    if target == "*":
        return target
    raise MalformedRequest("the request target has no path")


def _read_fields(variables: dict[str, str], readline: Callable[[int], bytes]) -> None:
    left = MAX_FIELDS_BYTES
    for _ in range(MAX_FIELD_LINES + 1):
        line = readline(MAX_FIELD_LINE_BYTES)
        if line in (b"\r\n", b"\n"):
            return
        if line[-1:] != b"\n":
            status = 431 if len(line) == MAX_FIELD_LINE_BYTES else 400
            raise MalformedRequest("incomplete or too large header field", status)
        left -= len(line)
        if left < 0:
            raise MalformedRequest("too large header fields", 431)
        sent, _, value = line.partition(b":")
        name = _variable_names.get(sent)
        if name is None:
            name = _variable(sent)
        text = value.removesuffix(b"\n").removesuffix(b"\r").strip(b" \t").decode("latin-1")
        if not text.isprintable() and CONTROL.search(text):  # the former is the quicker one, and too strict
            raise MalformedRequest("invalid character in a header field value")
        if name in variables:
            if name in SINGLE_FIELDS:
                raise MalformedRequest(f"duplicate header field {name}")
            text = variables[name] + ("; " if name == "HTTP_COOKIE" else ",") + text
        if name:
            variables[name] = text
    raise MalformedRequest("too many header fields", 431)


def _variable(sent: bytes) -> str:
    if not TOKEN.fullmatch(sent):  # a folded line, too (RFC 9112, 5.2), and a space before the colon (5.1)
        raise MalformedRequest("invalid header field name")
    # As other servers do: X_Real_IP would become the same variable as X-Real-IP, which a proxy vouches for.
    name = "" if b"_" in sent else "HTTP_" + sent.decode("ascii").upper().replace("-", "_")
    name = WITHOUT_PREFIX.get(name, name)
    if len(sent) <= MAX_CACHED_NAME_BYTES:
        if len(_variable_names) >= MAX_CACHED_NAMES:
            _variable_names.clear()
        _variable_names[sent] = name
    return name


def _check_length(variables: dict[str, str]) -> None:
    """Reject a body whose length is ambiguous (RFC 9112, 6.3)."""
    coding, length = variables.get("HTTP_TRANSFER_ENCODING"), variables.get("CONTENT_LENGTH")
    if coding is not None and coding.lower() != "chunked":
        raise MalformedRequest("unsupported transfer coding", 501)
    if coding is not None and (length is not None or variables["SERVER_PROTOCOL"] == "HTTP/1.0"):
        raise MalformedRequest("Transfer-Encoding together with Content-Length, or in HTTP/1.0")
    if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 19):
        raise MalformedRequest("invalid Content-Length")
