"""TLS at Nginx, and who may know more than the public."""

import re
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hpack import Encoder

from support.certificates import OPENSSL, Authority
from support.edge import Edge, Reply
from support.processes import free_port
from wsgiapp.deployment import nginx, nginx_listeners, readiness
from wsgiapp.deployment.addresses import require_free
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.render import render
from wsgiapp.errors import SettingsError, StackError
from wsgiapp.settings.loading import load_settings

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="OpenSSL is not installed")

HEADERS_FRAME, SETTINGS_FRAME, PING_FRAME = 1, 4, 6
END_HEADERS = 4
GET = "GET {} HTTP/1.1\r\nHost: service.example\r\nConnection: close\r\n{}\r\n"


def own_address() -> str:
    """Another address of this machine than loopback; the kernel picks it for a packet that is never sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no other address than loopback")
        return str(probe.getsockname()[0])


class Files:
    """A server's certificate and a client's, and what Nginx is told of them."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)  # Nginx's workers may be another user's
        self.folder = folder
        authority = Authority(folder / "ca")
        for name in ("server", "client"):
            key, certificate = authority.issue(name)
            (folder / f"{name}.key").write_text(key)
            (folder / f"{name}.pem").write_text(certificate)
        (folder / "ca.pem").write_text(authority.certificate)
        (folder / "server.key").chmod(0o600)
        self.port = free_port()
        self.variables = {
            "WSGIAPP_TLS_CERTIFICATE": str(folder / "server.pem"),
            "WSGIAPP_TLS_KEY": str(folder / "server.key"),
            "WSGIAPP_TLS_HTTPS_PORT": str(self.port),
        }

    def connect(self, *, client: str = "", maximum: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"] if maximum is None else ["http/1.1"])
        if maximum is not None:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = maximum
        if client:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


# What asks for TLS 1.1, in vain, is told by Python that it should not.
pytestmark = [pytestmark, pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    if OPENSSL is None:
        pytest.skip("OpenSSL is not installed")
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def edge(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    variables = {"WSGIAPP_TLS_HSTS_SECONDS": "600", "WSGIAPP_TLS_CLIENT_CA": str(files.folder / "ca.pem")}
    variables |= {"WSGIAPP_TLS_HTTP2": "true", "WSGIAPP_LIMITS_REQUEST_LINE_BYTES": str(2**20)}
    with Edge(tmp_path_factory.mktemp("edge"), **files.variables, **variables) as started:
        yield started


def ask(edge: Edge, files: Files, path: str = "/x", *fields: str, client: str = "client") -> Reply:
    connection = files.connect(client=client, maximum=ssl.TLSVersion.TLSv1_3)
    return edge.ask(GET.format(path, "".join(f"{field}\r\n" for field in fields)), client=connection)


def test_https_with_a_client_s_certificate(edge: Edge, files: Files) -> None:
    reply = ask(edge, files, "/x", "X-Client-Subject: CN=root")
    assert reply.status == 200
    assert reply.headers["strict-transport-security"] == "max-age=600"
    assert (reply.json["x-forwarded-proto"], reply.json["x-client-subject"]) == ("https", "CN=client")


def test_https_without_a_client_s_certificate(edge: Edge, files: Files) -> None:
    reply = ask(edge, files, client="")
    assert (reply.status, reply.json["detail"]) == (400, "a client's certificate is needed, and none was sent")
    below_v1 = ask(edge, files, "/v1/models/x", client="")
    assert (below_v1.status, set(below_v1.json)) == (400, {"error"})
    assert edge.logged(reply.headers["x-request-id"])["status"] == 400


def test_a_client_s_certificate_of_somebody_else(edge: Edge, files: Files, tmp_path: Path) -> None:
    key, certificate = Authority(tmp_path / "other").issue("client")
    (files.folder / "other.key").write_text(key)
    (files.folder / "other.pem").write_text(certificate)
    reply = ask(edge, files, client="other")
    assert (reply.status, reply.json["detail"]) == (400, "the client's certificate is not valid here")


def test_versions_and_http2(edge: Edge, files: Files) -> None:
    with files.connect() as connection:
        assert (connection.version(), connection.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    with files.connect(maximum=ssl.TLSVersion.TLSv1_2) as connection:
        cipher = connection.cipher()
        assert cipher and cipher[0] in nginx_listeners.CIPHERS.split(":")
    with pytest.raises((ssl.SSLError, OSError)):
        files.connect(maximum=ssl.TLSVersion.TLSv1_1)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, section 4.1."""
    return struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload


def test_headers_that_http2_unpacks_take_little_memory(edge: Edge, files: Files) -> None:
    """A header of 4 kB, and then a byte for each time that it is there again: 115 KB made Nginx take 435 MB."""
    encoder = Encoder()
    head = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "a")]

    def memory() -> int:
        """Kilobytes of Nginx's workers."""
        texts = [(Path("/proc") / str(pid) / "status").read_text() for pid in nginx.workers(edge.nginx.pid)]
        return sum(int(found[1]) for text in texts if (found := re.search(r"VmRSS:\s+(\d+)", text)))

    def most(headers: int) -> int:
        """Kilobytes that a connection takes with so many headers in each of its streams."""
        before = memory()
        with files.connect(client="client") as connection, suppress(OSError):
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS_FRAME, 0, 0))
            for number in range(100):
                block = encoder.encode([*head, *[("x-a", "v" * 4000)] * headers], huffman=False)
                connection.sendall(frame(HEADERS_FRAME, END_HEADERS, 2 * number + 1, block))
            connection.sendall(frame(PING_FRAME, 0, 0, b"finished"))
            received = b""
            while b"finished" not in received and (piece := connection.recv(65536)):
                received += piece
            return memory() - before
        return memory() - before

    assert most(900) < 32 * 1024, "above the limit"
    encoder = Encoder()
    assert most(28) < 32 * 1024, "below it"


def test_http_to_the_port_for_https(edge: Edge, files: Files) -> None:
    reply = edge.ask(GET.format("/x", ""), port=files.port)
    assert (reply.status, reply.json["detail"]) == (400, "plain HTTP was sent to the port for HTTPS")
    assert edge.logged(reply.headers["x-request-id"])


def test_http_is_sent_to_https(edge: Edge, files: Files) -> None:
    reply = edge.get("/lstm/predict?line=a%20b", method="POST")
    assert (reply.status, reply.headers["location"]) == (
        308,
        f"https://service.example:{files.port}/lstm/predict?line=a%20b",
    )
    assert "strict-transport-security" not in reply.headers, "by plain HTTP browsers must ignore it (RFC 6797, 7.2)"
    assert edge.get("/_problem/404").status == 404
    assert edge.get("/_problem/lstm/predict").status == 308
    assert edge.ask("GET / HTTP/1.0\r\n\r\n").headers["location"] == f"https://127.0.0.1:{files.port}/"
    assert edge.ask("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n").status == 400
    for path in ("/healthz", "/readyz", "/metrics"):
        assert edge.get(path).status == 200


def test_https_that_ends_at_a_proxy_in_front(files: Files, tmp_path: Path) -> None:
    variables = {**files.variables, "WSGIAPP_TLS_HTTPS_PORT": str(free_port())}
    with Edge(tmp_path, WSGIAPP_HTTP_TRUSTED_PROXIES="127.0.0.1", **variables) as edge:
        assert edge.get("/x", "X-Forwarded-Proto: https").json["x-forwarded-proto"] == "https"
        assert edge.get("/x", "X-Forwarded-Proto: http").status == 308
        assert edge.get("/x").status == 308


def test_the_files_of_acme(edge: Edge) -> None:
    """By HTTP, for a certificate that is not there yet or has run out."""
    folder = edge.home / "acme/.well-known/acme-challenge"
    folder.mkdir(parents=True)
    for parent in [folder, *folder.parents][:5]:
        parent.chmod(parent.stat().st_mode | 0o055)
    (folder / "token").write_text("token.thumbprint")
    reply = edge.get("/.well-known/acme-challenge/token")
    assert (reply.status, reply.body) == (200, b"token.thumbprint")
    assert edge.get("/.well-known/acme-challenge/other").json["status"] == 404


@needs_openssl
def test_wrong_files_are_told_before_anything_is_written(files: Files, tmp_path: Path) -> None:
    def settings(**variables: str):  # type: ignore[no-untyped-def]
        return load_settings({"WSGIAPP_HOME": str(tmp_path), **files.variables, **variables})

    render(settings())
    before = (tmp_path / "run/nginx.conf").read_text()
    for wrong in (
        {"WSGIAPP_TLS_CERTIFICATE": str(tmp_path / "missing.pem")},
        {"WSGIAPP_TLS_KEY": str(files.folder / "client.key")},
        {"WSGIAPP_TLS_CLIENT_CA": str(files.folder / "client.key")},
    ):
        with pytest.raises(SettingsError, match="Nginx does not accept its configuration"):
            render(settings(**wrong))
    assert (tmp_path / "run/nginx.conf").read_text() == before
    certificate = files.folder / "server.pem"
    text = certificate.read_text()
    certificate.write_text(text + "\n")
    assert render(settings()) == {"nginx.conf"}, "a file that was renewed is taken up by `make restart`"
    certificate.write_text(text)


def test_a_key_that_others_can_read_is_warned_of(files: Files) -> None:
    settings = load_settings(files.variables)
    assert nginx_listeners.warnings(settings) == []
    key = Path(settings.tls.key)
    key.chmod(0o604)
    assert [line.partition(":")[0] for line in nginx_listeners.warnings(settings)] == ["tls.key"]
    key.chmod(0o600)


@pytest.mark.parametrize(
    ("version", "listens"),
    [("nginx/1.22.1", "ssl http2 backlog=4096;"), ("nginx/1.26.3", "ssl backlog=4096;"), ("freenginx/1.27.4", "ssl ")],
)
def test_http2_as_each_nginx_has_it(tmp_path: Path, files: Files, version: str, listens: str) -> None:
    """Debian 12's and Debian 13's."""
    program = tmp_path / "nginx"
    program.write_text(f"#!/bin/sh\necho 'nginx version: {version} (Debian)' >&2\n")
    program.chmod(0o755)
    offered = load_settings({**files.variables, "WSGIAPP_TLS_HTTP2": "true"})
    lines = nginx_listeners.listeners(offered, str(program))
    assert any(listens in line for line in lines)
    assert ("http2 on;" in lines) == ("1.22" not in version)
    assert not any("http2" in line for line in nginx_listeners.listeners(load_settings(files.variables), str(program)))


SETTINGS = [
    ({"TLS_CERTIFICATE": "/a.pem"}, "tls.key: missing"),
    ({"TLS_KEY": "/a.pem"}, "tls.certificate: missing"),
    ({"TLS_CERTIFICATE": "a.pem"}, "not an absolute path"),
    ({"TLS_CLIENT_CA": "/a.pem"}, "tls.client_ca: clients' certificates need HTTPS"),
    (
        {"TLS_CERTIFICATE": "/a", "TLS_KEY": "/b", "TLS_CLIENT_CA": "/c", "TLS_REDIRECT": "false"},
        "tls.redirect = false: http.port would serve clients without a certificate",
    ),
    (
        {"TLS_CERTIFICATE": "/a", "TLS_KEY": "/b", "TLS_HTTPS_PORT": "8080"},
        "tls.https_port = 8080: http.port has the same port",
    ),
    ({"HTTP_ADMIN_PORT": "8500"}, "http.admin_port = 8500: backend.address has the same port"),
    ({"HTTP_PROXY_PROTOCOL": "true"}, "http.trusted_proxies has to name"),
    (
        {"HTTP_PROXY_PROTOCOL": "true", "HTTP_TRUSTED_PROXIES": "10.0.0.1"},
        "http.admin_port has to be a port of its own",
    ),
    ({"HTTP_ADMIN_HOST": "localhost"}, "not an IPv4 address"),
]


@pytest.mark.parametrize(("variables", "problem"), SETTINGS, ids=[problem for _, problem in SETTINGS])
def test_settings_that_do_not_fit_together(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        load_settings({f"WSGIAPP_{name}": value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("variables", "key"),
    [({"HTTP_ADMIN_PORT": "{}"}, "http.admin_port"), ({"TLS_HTTPS_PORT": "{}"}, "tls.https_port")],
)
def test_ports_that_others_have_are_named(variables: dict[str, str], key: str, files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = {f"WSGIAPP_{name}": value.format(taken.getsockname()[1]) for name, value in variables.items()}
        ports = {"WSGIAPP_HTTP_PORT": str(free_port()), "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{free_port()}"}
        with pytest.raises(StackError, match=f"{key}: cannot listen on"):
            require_free(load_settings({**files.variables, **ports, **chosen}))


def test_https_needs_nginx(tmp_path: Path, files: Files) -> None:
    variables = {**files.variables, "WSGIAPP_NGINX_BINARY": "", "WSGIAPP_HOME": str(tmp_path)}
    with pytest.raises(SettingsError, match=r"tls.certificate: HTTPS needs Nginx"):
        render(load_settings(variables))


DETAILS = ("/metrics", "/readyz", "//metrics", "/%6detrics", "/x/../metrics")


def see_who_may_know(edge: Edge, is_internal: bool, **where: object) -> None:
    for path in DETAILS:
        told = edge.get(path, "X-Wsgiapp-Internal: 1", **where).json
        assert told.get("x-wsgiapp-internal") == ("1" if is_internal else None), path


def test_on_loopback_all_is_told_but_to_who_comes_by_a_proxy(tmp_path: Path) -> None:
    with Edge(tmp_path) as edge:
        see_who_may_know(edge, True)
        told = edge.get("/metrics", "X-Forwarded-For: 9.9.9.9").json
        assert "x-wsgiapp-internal" not in told
        assert "x-wsgiapp-internal" not in edge.get("/other", "X-Wsgiapp-Internal: 1").json
        assert readiness.details_address(edge.settings) == ("127.0.0.1", edge.port)


def test_open_to_other_machines_all_is_told_on_loopback_only(tmp_path: Path) -> None:
    with Edge(tmp_path, WSGIAPP_HTTP_HOST="0.0.0.0") as edge:
        see_who_may_know(edge, True)
        see_who_may_know(edge, False, host=own_address())


def test_at_another_address_loopback_is_listened_on_besides(tmp_path: Path) -> None:
    with Edge(tmp_path, WSGIAPP_HTTP_HOST=own_address()) as edge:
        see_who_may_know(edge, True)
        see_who_may_know(edge, False, host=own_address())
        assert readiness.details_address(edge.settings) == ("127.0.0.1", edge.port)


def test_a_port_for_a_scraper_on_another_machine(tmp_path: Path) -> None:
    """It has metrics and health, and nothing else of the service."""
    port = free_port()
    with Edge(tmp_path, WSGIAPP_HTTP_ADMIN_HOST="0.0.0.0", WSGIAPP_HTTP_ADMIN_PORT=str(port)) as edge:
        see_who_may_know(edge, True, host=own_address(), port=port)
        see_who_may_know(edge, False)
        assert edge.get("/healthz", port=port).status == 200
        for path in ("/lstm/predict", "/", "/v1/config", "/_problem/404"):
            reply = edge.get(path, port=port)
            assert (reply.status, bool(reply.headers["x-request-id"])) == (404, True)
            assert reply.headers["content-type"].endswith("json")


def test_metrics_for_everybody_where_the_settings_say_so(tmp_path: Path) -> None:
    with Edge(tmp_path, WSGIAPP_HTTP_HOST="0.0.0.0", WSGIAPP_HTTP_ADMIN_HOST="0.0.0.0") as edge:
        see_who_may_know(edge, True, host=own_address())
