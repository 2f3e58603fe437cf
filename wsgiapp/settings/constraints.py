"""What a setting's value must satisfy besides its type; each setting names its constraint where it is declared.

Many values become part of nginx.conf, supervisord.conf or a command line. What would only fail there, or would change
the meaning of the file, is rejected here, where the message can name the key.
"""

import ipaddress
import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# sockaddr_un has 108 bytes for a Unix socket's path, the last of them a null (unix(7)).
MAX_SOCKET_PATH_BYTES = 107


class Constraint(Protocol):
    """A condition on one value."""

    def violation(self, value: Any) -> str:
        """What is wrong with `value` and what would be right; empty where nothing is."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `minimum` to `maximum`, both included, or 0 with `zero`. NaN is in no range."""

    minimum: float
    maximum: float | None = None
    zero: bool = False

    def violation(self, value: float) -> str:
        in_range = value >= self.minimum and (self.maximum is None or value <= self.maximum)
        if in_range or (self.zero and value == 0):
            return ""
        bounds = f"at least {self.minimum}" if self.maximum is None else f"between {self.minimum} and {self.maximum}"
        return f"must be {'0 or ' if self.zero else ''}{bounds}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several texts."""

    values: tuple[str, ...]

    def violation(self, value: str) -> str:
        return "" if value in self.values else f"not {', '.join(self.values[:-1])} or {self.values[-1]}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text that a regular expression matches as a whole; `expected` describes it."""

    expression: str
    expected: str

    def violation(self, value: str) -> str:
        return "" if re.fullmatch(self.expression, value) else f"not {self.expected}"


@dataclass(frozen=True, slots=True)
class ShellWords:
    """Words quoted as in a shell, as `shlex` splits them; at least one, a program's name, with `program`."""

    program: bool = False

    def violation(self, value: str) -> str:
        if not re.fullmatch(MULTI_LINE_TEXT, value):
            return "not a text without control characters"
        try:
            words = shlex.split(value)
        except ValueError as exc:
            return str(exc)
        return "not a program" if self.program and not any(words[:1]) else ""


class Share:
    """A weight of a traffic split: a finite number above 0."""

    def violation(self, value: Any) -> str:
        is_share = type(value) in (int, float) and 0 < value < math.inf
        return "" if is_share else "not a share, a number above 0"


class BackendAddress:
    """host:port, or `unix:/absolute/path` of a Unix socket."""

    def violation(self, value: str) -> str:
        kind, _, path = value.partition(":")
        return _socket_path_violation(path) if kind == "unix" else _host_port_violation(value)


class SocketPath:
    """An absolute path that a Unix socket can have, or nothing."""

    def violation(self, value: str) -> str:
        return _socket_path_violation(value) if value else ""


def _host_port_violation(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not re.fullmatch(HOST.expression, host) or not re.fullmatch(r"[0-9]{1,5}", port):
        return "not host:port or unix:/absolute/path; the host is an IPv4 address or a host name, IPv6 is not supported"
    return "" if 1 <= int(port) <= 65535 else "a port is from 1 to 65535"


def _socket_path_violation(path: str) -> str:
    if not path.startswith("/") or not Path(path).name:
        return "a Unix socket needs an absolute path, like /run/serving.sock"
    if violation := FILE_PATH.violation(path):
        return violation
    if len(os.fsencode(Path(path))) > MAX_SOCKET_PATH_BYTES:
        return f"longer than the {MAX_SOCKET_PATH_BYTES} bytes that a Unix socket's path can have"
    return ""


class Origins:
    """Origins as browsers send them (RFC 6454, section 6.2), with spaces or commas between them; or `*` alone."""

    def violation(self, value: str) -> str:
        origins = split_words(value)
        if TEXT.violation(value):
            return TEXT.violation(value)
        if origins == ["*"]:
            return ""
        wrong = next((each for each in origins if not re.fullmatch(ORIGIN, each) or re.search(DEFAULT_PORT, each)), "")
        return f"{wrong} is not {ORIGIN_EXPECTED}" if wrong else ""


def split_words(value: str) -> list[str]:
    """The words of a setting's text, which spaces or commas part: origins, addresses."""
    return re.split("[ ,]+", value.strip(" ,")) if value.strip(" ,") else []


class Networks:
    """Addresses of IPv4 and IPv6 and networks in CIDR notation, with spaces or commas between them."""

    def violation(self, value: str) -> str:
        for each in split_words(value):
            try:
                network = ipaddress.ip_network(each)
            except ValueError as exc:
                return f"{exc}; right would be addresses and networks such as 10.0.0.7 fd00::/8"
            if network.prefixlen == 0:
                return f"{each} is everybody, and anybody could then claim any address; name the proxies"
        return ""


# Control characters end a line of a configuration file or a header; surrogates stand for bytes that are not UTF-8.
MULTI_LINE_TEXT = r"[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]*"
TEXT = Pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]*", "a text without line breaks and other control characters")

# RFC 1123, section 2.1, and the underscore of container networks; a name's last label has a letter, which tells it from
# an IPv4 address. IPv6 is left out: supervisor's fcgi-program binds IPv4 sockets only, and an address is split at ":".
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = Pattern(
    rf"(?:{_BYTE}\.){{3}}{_BYTE}|(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?![0-9]+\.?\Z){_LABEL}\.?",
    "an IPv4 address or a host name, without a port; IPv6 is not supported",
)

IPV4 = Pattern(rf"(?:{_BYTE}\.){{3}}{_BYTE}", "an IPv4 address, such as 127.0.0.1")
OPTIONAL_FILE_PATH = Pattern(
    r"""(?:/(?:[^\x00-\x1f\x7f\ud800-\udfff"\\$])*)?""",
    r"""an absolute path without control characters, `"`, `\` or `$`""",
)

# The scheme of a page is not always one of HTTP's: apps have their own, such as capacitor://localhost.
ORIGIN = r"(?=.{1,300}\Z)[a-z][a-z0-9+.-]*://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?"
DEFAULT_PORT = r"^(?:http://.*:80|https://.*:443)$"
ORIGIN_EXPECTED = (
    "an origin as browsers send it, such as https://shop.example or http://localhost:3000: in lower case, without a "
    "path, a slash at its end, or the scheme's own port; `*` stands alone"
)

# Stands in double quotes in both files; supervisord takes `;` and `#` after a space as the start of a comment, strips
# the spaces around a value, and strips quotes of both kinds around a variable's value.
FILE_PATH = Pattern(
    r"""(?:[^\x00-\x1f\x7f\ud800-\udfff"\\](?<!\s[;#]))*(?<![\s'])""",
    r"""a path without control characters, `"`, `\`, a space before `;` or `#`, and a space or `'` at its end""",
)

COMPATIBILITY = Pattern("(?:flask)?", "flask or empty")
URL_PATH = Pattern(r"(/[A-Za-z0-9_.~-]+)*", "a path like /metrics")
# RFC 6750, section 2.1, allows these and fewer; a header field can carry no other ones (RFC 9110, section 5.5).
TOKEN = Pattern(r"[!-~]*", "a text of visible ASCII characters, which a header can carry")
HEADER_NAME = Pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*", "a header field name (RFC 9110, section 5.1)")
