"""The head of an HTTP/1.x request as WSGI variables (RFC 9112, PEP 3333).

It is as strict as RFC 9112 lets it be: what two readers could understand in two ways is refused, because one of them
may be the proxy in front. It takes an eighth of the time of the standard library's parser for e-mail, which pywsgi
uses.
"""

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# Anything but a single space between the words is refused: RFC 9112, 3 warns of what other readers take for space.
NOT_IN_A_TARGET = bytes(range(0x21)) + b"\x7f"
VERSIONS = {version.encode() + end: version for version in ("HTTP/1.1", "HTTP/1.0") for end in (b"\r\n", b"\n")}
OTHER_VERSION = re.compile(rb"HTTP/[0-9](\.[0-9])?\r?\n")
AUTHORITY = re.compile(r"https?://[^/]*", re.IGNORECASE)
LONGEST_LINE = 65536
MOST_LINES = 100
# A second one would say something else about where this request ends, or for whom it is.
ONLY_ONCE = frozenset({"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_HOST", "CONTENT_TYPE"})
WITHOUT_PREFIX = {"HTTP_CONTENT_LENGTH": "CONTENT_LENGTH", "HTTP_CONTENT_TYPE": "CONTENT_TYPE"}
# Names as they were sent -> the variable's, or "" for a name that is left out. Clients make up names, so only so many
# are kept, and none that are longer; then all are forgotten, so that what one made up does not keep others out.
MOST_KNOWN = 1024
LONGEST_KNOWN = 64
_known: dict[bytes, str] = {}


class Malformed(ValueError):
    """Raised for what is not a request; `status` is the HTTP status to answer."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


def read_head(request_line: bytes, readline: Callable[[int], bytes]) -> dict[str, str]:
    """The variables that describe a request: REQUEST_METHOD, PATH_INFO, ..., and its headers.

    REQUEST_URI is the target as it was sent: percent-encoding tells a slash in a name from one between names.
    Raises `Malformed`.
    """
    words = request_line.split(b" ")
    if len(words) != 3 or not TOKEN.fullmatch(words[0]):
        raise Malformed("not a request line")
    if len(words[1].translate(None, NOT_IN_A_TARGET)) < len(words[1]):
        raise Malformed("a character in the target that has no place there")
    method, target = words[0].decode("ascii"), words[1].decode("latin-1")
    version = VERSIONS.get(words[2])
    if version is None:
        raise Malformed("not a version of HTTP that is served here", 505 if OTHER_VERSION.fullmatch(words[2]) else 400)
    path, _, query = target.partition("?")
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
    if version == "HTTP/1.1" and "HTTP_HOST" not in variables:
        raise Malformed("HTTP/1.1 without a Host")  # a server must refuse it (RFC 9112, 3.2)
    _check_length(variables)
    return variables


def _path_of(target: str) -> str:
    """The path of a target in another form than the usual: as proxies are sent it, or `*` (RFC 9112, 3.2)."""
    authority = AUTHORITY.match(target)
    if authority:
        return target[authority.end() :] or "/"
    if target == "*":
        return target
    raise Malformed("a target without a path")


def _read_fields(variables: dict[str, str], readline: Callable[[int], bytes]) -> None:
    for _ in range(MOST_LINES + 1):
        line = readline(LONGEST_LINE)
        if line in (b"\r\n", b"\n"):
            return
        if line[-1:] != b"\n":
            raise Malformed("a header that is cut off or too long", 431 if len(line) == LONGEST_LINE else 400)
        sent, _, value = line.partition(b":")
        name = _known.get(sent)
        if name is None:
            name = _variable(sent)
        text = value.removesuffix(b"\n").removesuffix(b"\r").strip(b" \t").decode("latin-1")
        if "\r" in text or "\0" in text:
            raise Malformed("a header with a character that has no place there")
        if name in variables:
            if name in ONLY_ONCE:
                raise Malformed(f"more than one {name}")
            text = variables[name] + ("; " if name == "HTTP_COOKIE" else ",") + text
        if name:
            variables[name] = text
    raise Malformed("too many headers", 431)


def _variable(sent: bytes) -> str:
    if not TOKEN.fullmatch(sent):  # a folded line, too (RFC 9112, 5.2), and a space before the colon (5.1)
        raise Malformed("a header's name that is none")
    # As other servers do: X_Real_IP would become the same variable as X-Real-IP, which a proxy vouches for.
    name = "" if b"_" in sent else "HTTP_" + sent.decode("ascii").upper().replace("-", "_")
    name = WITHOUT_PREFIX.get(name, name)
    if len(sent) <= LONGEST_KNOWN:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[sent] = name
    return name


def _check_length(variables: dict[str, str]) -> None:
    """Refuse a body whose end is not beyond doubt (RFC 9112, 6.3)."""
    coding, length = variables.get("HTTP_TRANSFER_ENCODING"), variables.get("CONTENT_LENGTH")
    if coding is not None and coding.lower() != "chunked":
        raise Malformed("a Transfer-Encoding other than chunked", 501)
    if coding is not None and (length is not None or variables["SERVER_PROTOCOL"] == "HTTP/1.0"):
        raise Malformed("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
    if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 19):
        raise Malformed("a Content-Length that is no number")
