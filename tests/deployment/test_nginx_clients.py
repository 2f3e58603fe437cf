"""Who a client is for Nginx, and what it may ask for: no client's own word on its address counts."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.edge import Edge, Reply
from support.processes import free_port
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.errors import SettingsError
from wsgiapp.settings.loading import load_settings

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

FORGED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.example",
    "Forwarded: for=6.6.6.6",
)
FORGED += ("X-Real-IP: 6.6.6.6", "X-Client-Subject: CN=root", "X-Wsgiapp-Internal: 1", "X_Forwarded_For: 6.6.6.6")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Edge]]:
    """Nginx with these settings, the same one for the same settings."""
    started: dict[str, Edge] = {}

    def edge(**variables: str) -> Edge:
        key = json.dumps(variables, sort_keys=True)
        if key not in started:
            started[key] = Edge(tmp_path_factory.mktemp("edge"), **variables).__enter__()
        return started[key]

    yield edge
    for each in started.values():
        each.__exit__()


def test_what_a_client_says_of_itself_reaches_nobody(start: Callable[..., Edge]) -> None:
    told = start().get("/x", *FORGED).json
    assert (told["x-forwarded-for"], told["x-forwarded-proto"], told["x-real-ip"]) == ("127.0.0.1", "http", "127.0.0.1")
    others = {"x-forwarded-host", "forwarded", "x-client-subject", "x-wsgiapp-internal", "x_forwarded_for"}
    assert not others & set(told)
    assert "6.6.6.6" not in json.dumps(told)


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ("6.6.6.6", "6.6.6.6"),
        ("6.6.6.6, 9.9.9.9", "9.9.9.9"),
        ("6.6.6.6, 9.9.9.9, 10.1.2.3", "9.9.9.9"),
        ("6.6.6.6, 2001:db8::7", "2001:db8::7"),
        ("9.9.9.9, fd00::1", "9.9.9.9"),
        ("6.6.6.6, nonsense", "127.0.0.1"),
    ],
)
def test_behind_trusted_proxies(start: Callable[..., Edge], forwarded_for: str, client: str) -> None:
    """The last address that is no proxy's: what stands before it, the client may have written."""
    edge = start(WSGIAPP_HTTP_TRUSTED_PROXIES="127.0.0.1 10.0.0.0/8, fd00::/8")
    told = edge.get("/x", f"X-Forwarded-For: {forwarded_for}", *FORGED[1:]).json
    assert told["x-forwarded-for"] == client
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("https", "evil.example"), "the proxy says so"
    assert "x-client-subject" not in told and "x-wsgiapp-internal" not in told


def test_a_proxy_that_is_not_trusted(start: Callable[..., Edge]) -> None:
    edge = start(WSGIAPP_HTTP_TRUSTED_PROXIES="127.0.0.2")
    told = edge.get("/x", *FORGED).json
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == ("127.0.0.1", "http")
    reply = edge.get("/_problem/404", "X-Forwarded-For: 6.6.6.6")
    assert edge.logged(reply.headers["x-request-id"])["client"] == "127.0.0.1"


def test_the_proxy_protocol(start: Callable[..., Edge]) -> None:
    admin = free_port()
    edge = start(
        WSGIAPP_HTTP_TRUSTED_PROXIES="127.0.0.1", WSGIAPP_HTTP_PROXY_PROTOCOL="true", WSGIAPP_HTTP_ADMIN_PORT=str(admin)
    )
    head = "GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"
    for address, family in (("9.9.9.9", 4), ("2001:db8::7", 6)):
        told = edge.ask(f"PROXY TCP{family} {address} {address} 1000 80\r\n{head}").json
        assert told["x-forwarded-for"] == address
    assert edge.ask(head.replace("/x", "/readyz"), port=admin).json["x-wsgiapp-internal"] == "1", "without a proxy"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("10.0.0.1/8", "has host bits set"),
        ("proxy.example", "does not appear to be an IPv4 or IPv6 network"),
        ("0.0.0.0/0", "is everybody"),
        ("::/0", "is everybody"),
        ("10.0.0.1; evil", "does not appear to be"),
    ],
)
def test_proxies_that_the_settings_do_not_take(value: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"WSGIAPP_HTTP_TRUSTED_PROXIES = .*{problem}"):
        load_settings({"WSGIAPP_HTTP_TRUSTED_PROXIES": value})


def test_requests_of_an_address_are_limited_and_of_health_checks_not(start: Callable[..., Edge]) -> None:
    limits = {"WSGIAPP_NGINX_REQUESTS_PER_SECOND": "1", "WSGIAPP_NGINX_REQUEST_BURST": "4"}
    edge = start(WSGIAPP_HTTP_TRUSTED_PROXIES="127.0.0.1", WSGIAPP_HTTP_COMPATIBILITY="flask", **limits)
    client = "X-Forwarded-For: 9.9.9.1"
    assert [edge.get("/x", client).status for _ in range(5)] == [200] * 5
    rejected = rejection(edge, "/x", client)
    assert (rejected.status, rejected.headers["retry-after"]) == (429, "1")
    assert rejected.json["detail"] == "too many requests; try again in a moment"
    assert edge.logged(rejected.headers["x-request-id"])["status"] == 429
    below_v1 = rejection(edge, "/v1/models/x", client)
    assert (below_v1.status, set(below_v1.json)) == (429, {"error"})
    flask = rejection(edge, "/lstm/predict", client)
    assert (flask.json["status"], flask.json["code"]) == (-1, 429)
    assert edge.get("/x", "X-Forwarded-For: 9.9.9.2").status == 200, "another client"
    for path in ("/healthz", "/readyz", "/metrics"):
        assert {edge.get(path, client).status for _ in range(8)} == {200}


def rejection(edge: Edge, path: str, *fields: str) -> Reply:
    """The first rejection; on a machine that is slow enough none would come, and the test fails."""
    replies = (edge.get(path, *fields) for _ in range(100))
    return next(reply for reply in replies if reply.status == 429 or reply.body.startswith(b'{"status":-1'))


@pytest.mark.parametrize("field", ["X-API-Key: {}", "Authorization: Bearer {}"])
def test_requests_of_a_key_are_limited(start: Callable[..., Edge], field: str) -> None:
    edge = start(WSGIAPP_NGINX_KEY_REQUESTS_PER_SECOND="1", WSGIAPP_NGINX_REQUEST_BURST="2")
    key = field.format("a" * 100) + field[:3]  # the beginning is the same for all keys of one issuer
    assert [edge.get("/x", f"{key}-one").status for _ in range(3)] == [200] * 3
    assert rejection(edge, "/x", f"{key}-one").status == 429
    assert edge.get("/x", f"{key}-two").status == 200
    assert {edge.get("/x").status for _ in range(8)} == {200}, "without a key"


def test_requests_in_flight_are_limited(start: Callable[..., Edge]) -> None:
    """Two whose bodies are still coming are all that one address may have here; a key may have one."""
    edge = start(WSGIAPP_NGINX_CLIENT_REQUESTS="2", WSGIAPP_NGINX_KEY_REQUESTS="1")
    head = b"POST /x HTTP/1.1\r\nHost: a\r\nX-API-Key: k\r\nConnection: close\r\nContent-Length: 2\r\n\r\n1"
    without_key = head.replace(b"X-API-Key: k\r\n", b"")
    slow = [socket.create_connection(("127.0.0.1", edge.port)) for _ in range(2)]
    slow[0].sendall(head)
    edge.nginx.wait_until(lambda: edge.get("/x", "X-API-Key: k").status == 429)
    assert edge.get("/x").status == 200
    slow[1].sendall(without_key)
    edge.nginx.wait_until(lambda: edge.get("/x").status == 429)
    assert edge.get("/healthz").status == 200
    for connection in slow:
        connection.sendall(b"2")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.close()
    edge.nginx.wait_until(lambda: edge.get("/x", "X-API-Key: k").status == 200)


def test_slow_clients_are_closed(start: Callable[..., Edge]) -> None:
    """A head that comes byte by byte has a time for all of it; a body that stops, and an answer that nobody reads, one
    for each piece."""
    limits = {f"WSGIAPP_NGINX_{name}_SECONDS": "1" for name in ("CLIENT_HEADER", "CLIENT_BODY", "SEND")}
    edge = start(**limits)

    def read_nothing() -> bool:
        with socket.create_connection(("127.0.0.1", edge.port), timeout=30) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                for _ in range(100):
                    time.sleep(0.1)
                    client.sendall(b" ")  # fails once Nginx has closed
            except OSError:
                return True
        return False

    def drip(sent: bytes, again: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", edge.port), timeout=0.2) as client:
            client.sendall(sent)
            for _ in range(100):
                try:
                    client.sendall(again)
                    return client.recv(100)
                except TimeoutError:
                    continue
                except OSError:
                    return b""
        raise AssertionError("the connection stays open")

    with ThreadPoolExecutor() as pool:
        ends = pool.map(
            drip,
            [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", b""],
            [b"a", b"", b""],
        )
        nobody_reads = pool.submit(read_nothing)
        assert list(ends) == [b"", b"", b""]
        assert nobody_reads.result()
    assert edge.get("/x").status == 200


def test_connections_above_what_there_can_be_are_closed_and_idle_ones_make_room(tmp_path: Path) -> None:
    """Nobody hangs: an idle connection is closed for a new one, and where all are busy the new one is."""
    with Edge(tmp_path, connections=24) as edge:

        def connect(sent: bytes) -> socket.socket:
            client = socket.create_connection(("127.0.0.1", edge.port), timeout=30)
            client.sendall(sent)
            return client

        idle = []
        for _ in range(40):
            idle.append(connect(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"))
            assert idle[-1].recv(12) == b"HTTP/1.1 200"
        for client in idle:
            client.close()
        busy = [connect(b"GET /x HT") for _ in range(40)]
        closed = [client for client in busy if is_closed(client)]
        assert 10 <= len(closed) < 40
        for client in busy:
            client.close()
        edge.nginx.wait_until(lambda: is_served(edge))


def is_closed(client: socket.socket) -> bool:
    """Nginx has answered nothing to a head that is not complete: it is waited for only where it is taken."""
    client.settimeout(0.02)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def is_served(edge: Edge) -> bool:
    try:
        return edge.get("/x").status == 200
    except OSError:
        return False


def test_without_limits_nothing_is_counted(tmp_path: Path, start: Callable[..., Edge]) -> None:
    text = (start().settings.run / "nginx.conf").read_text()
    assert "limit_req" not in text and "limit_conn" not in text
