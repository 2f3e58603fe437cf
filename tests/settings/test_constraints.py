"""Constraints accept what other programs can read, and reject what would fail or mean something else there."""

import math

import pytest

from wsgiapp.settings.constraints import (
    COMPATIBILITY,
    FILE_PATH,
    HEADER_NAME,
    HOST,
    TEXT,
    TOKEN,
    URL_PATH,
    BackendAddress,
    Choice,
    Constraint,
    Origins,
    Range,
    Share,
    ShellWords,
)
from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.tables.backend import Container

CONTAINER = {field.name: declaration.constraint for field, declaration in declarations(Container)}

VALID: list[tuple[Constraint | None, list[object]]] = [
    (Range(1, 3), [1, 2.5, 3]),
    (Range(1), [1, 10**30]),
    (Range(5, zero=True), [0, 5]),
    (Choice(("a", "b")), ["a", "b"]),
    (Share(), [1, 0.5]),
    (ShellWords(), ["", "--env=A=B --env='C D'", "--a=b\n\t--c=d"]),
    (ShellWords(program=True), ["docker", "podman --remote", "'/opt/my engine/docker'"]),
    (TEXT, ["", "serving_default", "情感", "a b"]),
    (
        HOST,
        ["127.0.0.1", "0.0.0.0", "255.255.255.255", "localhost", "a-b.example", "tf_serving", "x.example.", "1a.2b"],
    ),
    (HOST, [f"{'a' * 63}.example"]),
    (FILE_PATH, ["/srv/家", "/a b", "/a;b#c", "/50%", "/o'neil", "/a$b"]),
    (URL_PATH, ["", "/metrics", "/a/b.c~d-e_f"]),
    (TOKEN, ["", "c2VjcmV0==", "p@ss!"]),
    (HEADER_NAME, ["", "X-User-Id"]),
    (COMPATIBILITY, ["", "flask"]),
    (
        Origins(),
        ["", " ", "*", " * ", "https://shop.example", "http://localhost:3000, http://127.0.0.1:5000,http://a_b"],
    ),
    (Origins(), ["http://[::1]:8000", "capacitor://localhost", f"https://{'a' * 63}.example:8443"]),
    (BackendAddress(), ["127.0.0.1:1", "serving.example:65535", "tf_serving:8500", "unix:/run/x.sock"]),
    (BackendAddress(), [f"unix:/{'x' * 106}", "unix:/a folder/serving.sock"]),
    (CONTAINER["image"], ["", "tensorflow/serving:2.19.1", "host:5000/a@sha256:0f", "0f1e"]),
    (CONTAINER["name"], ["", "a", "a.b_c-d"]),
    (CONTAINER["gpu"], ["", "0", "GPU-8932f937-d72c", "MIG-GPU-1/2/3"]),
    (CONTAINER["user"], ["", "0:0", "1000720000:0"]),
    (CONTAINER["network"], ["bridge", "host", "my_net"]),
]

INVALID: list[tuple[Constraint | None, list[object], str]] = [
    (Range(1, 3), [0, 3.1, math.nan, math.inf, -math.inf], "must be between 1 and 3"),
    (Range(1), [0, math.nan], "must be at least 1"),
    (Range(5, zero=True), [1, 4, -1], "must be 0 or at least 5"),
    (Choice(("a", "b", "c")), ["", "d", "A"], "not a, b or c"),
    (Share(), [0, -1, math.nan, math.inf, True, "1", None], "not a share, a number above 0"),
    (ShellWords(), ["--env='", 'a"'], "No closing quotation"),
    (ShellWords(), ["a\0", "a\rb"], "not a text without control characters"),
    (ShellWords(program=True), ["", "  ", "''"], "not a program"),
    (TEXT, ["a\n", "\t", "\0", "\udcff"], "not a text without line breaks"),
    (HOST, ["", " ", "a b", "a\n", "localhost ", "::1", "[::1]", "a:80", "http://a", "a/b"], "IPv6 is not supported"),
    (
        HOST,
        ["a;b", 'a"', "a'", "a;", "a{", "$a", "@{run}", "*", "-a", "a-", "a..b", ".a", "服务.example"],
        "not an IPv4",
    ),
    (HOST, ["256.0.0.1", "1.2.3", "1.2.3.4.5", "1.2.3.4.", "01.2.3.4", "8080", "a.1", "a" * 64], "not an IPv4"),
    (HOST, [".".join(["a" * 63] * 4)], "not an IPv4"),
    (FILE_PATH, ['/a"b', "/a\\b", "/a ;b", "/a #b", "/a\n", "/a ", "/a'", "/\udcff"], "not a path without control"),
    (URL_PATH, ["metrics", "/", "/a b", "/a/", "/a?b", "/<x>", "/a\n"], "not a path like /metrics"),
    (TOKEN, ["a b", "a\n", "é"], "not a text of visible ASCII characters"),
    (HEADER_NAME, ["X User", "X:", "X\n", "é"], "not a header field name"),
    (COMPATIBILITY, ["Flask", "fastapi", " "], "not flask or empty"),
    (Origins(), ["shop.example", "null", "*.example", "https://*.example"], "is not an origin as browsers send it"),
    (
        Origins(),
        ["https://a.example/", "https://a.example/x", "https://A.example", "HTTPS://a.example"],
        "in lower case",
    ),
    (Origins(), ["http://a.example:80", "https://a.example:443", "https://a.example:0"], "or the scheme's own port"),
    (Origins(), ["* https://a.example", "https://a.example *"], "* is not an origin as browsers"),
    (
        Origins(),
        ['https://a";', "https://a{}", "https://$a", "https://服务.example", f"https://{'a' * 300}"],
        "is not an",
    ),
    (Origins(), ["https://a\n", "https://a\thttps://b"], "not a text without line breaks"),
    (BackendAddress(), ["here:0", "here:65536"], "a port is from 1 to 65535"),
    (
        BackendAddress(),
        ["", "here", ":8500", "a b:1", "http://a:1", "a:1:2", "a:٣", "a:1\n"],
        "not host:port or unix:/",
    ),
    (BackendAddress(), ["[::1]:8500", "::1:8500"], "IPv6 is not supported"),
    (BackendAddress(), ["unix:here", "unix:", "unix:/", "unix://"], "a Unix socket needs an absolute path"),
    (BackendAddress(), ['unix:/a"b', "unix:/a\nb", "unix:/a ;b"], "not a path without control characters"),
    (BackendAddress(), [f"unix:/{'x' * 107}", f"unix:/{'家' * 36}"], "longer than the 107 bytes"),
    (CONTAINER["image"], ["--privileged", "a b", "a\n"], "not an image's name"),
    (CONTAINER["name"], ["-a", "a b", "a" * 129], "not a container's name"),
    (CONTAINER["gpu"], ["0,1", "all gpus"], "not one GPU's index or UUID"),
    (CONTAINER["user"], ["me", "1", "1:", "٣:٣"], "not uid:gid in numbers"),
    (CONTAINER["network"], ["", "--x", "a b", "container:x"], "not a network's name"),
]


@pytest.mark.parametrize(("constraint", "values"), VALID)
def test_valid_values(constraint: Constraint, values: list[object]) -> None:
    assert {value: constraint.violation(value) for value in values} == dict.fromkeys(values, "")


@pytest.mark.parametrize(("constraint", "values", "message"), INVALID)
def test_invalid_values(constraint: Constraint, values: list[object], message: str) -> None:
    for value in values:
        assert message in constraint.violation(value), value
