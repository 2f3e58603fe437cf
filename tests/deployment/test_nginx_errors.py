"""Whatever Nginx answers itself: in the application's form, with an id that is in the log, and none for HEAD."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http import HTTPStatus

import pytest

from support.edge import Edge, Reply
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

# ngx_http_special_response.c has a page for each of these. At 408, 444 and 499 Nginx closes the connection.
NGINX_PAGES = [*range(400, 407), *range(409, 417), 421, 429, 494, 495, 496, 497, *range(500, 506), 507]
NUMBERS = {494: 431, 495: 400, 496: 400, 497: 400}  # Nginx's own -> what a client sees
FORMS = {"": "/_own", "v1": "/v1/own"}


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Edge]]:
    """In front of workers by HTTP and by uWSGI's protocol, with locations in which each of Nginx's errors happens."""
    with ExitStack() as stack:
        yield {
            server: stack.enter_context(
                Edge(tmp_path_factory.mktemp("edge"), WSGIAPP_APP_SERVER=server, own_nginx=own_locations())
            )
            for server in ("builtin", "uwsgi")
        }


@pytest.fixture(params=["builtin", "uwsgi"])
def edge(request: pytest.FixtureRequest, edges: Mapping[str, Edge]) -> Edge:
    return edges[request.param]


@pytest.fixture
def http_edge(edges: Mapping[str, Edge]) -> Edge:
    """The one whose application answers here."""
    return edges["builtin"]


def own_locations() -> str:
    """`return` without a text leads to Nginx's own page, as the error itself does."""
    lines = [
        f"location = {prefix}/{status} {{ return {status}; }}" for prefix in FORMS.values() for status in NGINX_PAGES
    ]
    return "\n".join([*lines, 'location /secret { auth_basic "x"; auth_basic_user_file /dev/null; }'])


def see_that_it_is_ours(edge: Edge, reply: Reply, status: int, *, has_body: bool = True) -> None:
    assert edge.logged(see_its_form(reply, status, has_body=has_body))["status"] == status


def see_its_form(reply: Reply, status: int, *, form: str = "", has_body: bool = True) -> str:
    """The request's id."""
    assert reply.status == status
    request = reply.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", request)
    assert reply.headers["content-type"] == ("application/json" if form == "v1" else "application/problem+json")
    if not has_body:
        assert reply.body == b""
    elif form == "v1":
        assert set(reply.json) == {"error"}
    else:
        assert (reply.json["status"], reply.json["request_id"]) == (status, request)
    return request


@pytest.mark.parametrize("form", FORMS)
def test_each_of_nginx_s_pages(edge: Edge, form: str) -> None:
    found = {}
    for number in NGINX_PAGES:
        status = NUMBERS.get(number, number)
        if number == 500 and edge.settings.app.server == "uwsgi":
            status = 431  # headers that do not fit into a packet
        for method in ("GET", "HEAD"):
            reply = edge.get(f"{FORMS[form]}/{number}", method=method)
            found[see_its_form(reply, status, form=form, has_body=method == "GET")] = status
            assert ("retry-after" in reply.headers) == (status in (429, 502, 503, 507))
    assert {request: edge.logged(request)["status"] for request in found} == found


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /_problem/404 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        ("GET /_error/502 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /../.. HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\0\1\2\r\n\r\n", 400),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (f"GET /{'a' * 40_000} HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (f"GET / HTTP/1.1\r\nHost: a\r\nX: {'a' * 40_000}\r\n\r\n", 431),
        ("GET / HTTP/1.1\r\nHost: a\r\n" + 6 * f"X: {'a' * 30_000}\r\n" + "\r\n", 431),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n" + 3_000_000 * " ", 413),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_what_nginx_does_not_take(edge: Edge, head: str, status: int) -> None:
    reply = edge.ask(head)
    see_that_it_is_ours(edge, reply, status)
    assert ("allow" in reply.headers) == (status == 405)


@pytest.mark.parametrize(
    ("line", "status"),
    [(f"HEAD /{'a' * 40_000} HTTP/1.1", 414), ("HEAD / HTTP/9.9", 505), ("HEAD /%00 HTTP/1.1", 400)],
    ids=["414", "505", "400"],
)
def test_head_has_no_body_whatever_is_wrong_with_it(edge: Edge, line: str, status: int) -> None:
    see_that_it_is_ours(edge, edge.ask(f"{line}\r\nHost: a\r\n\r\n"), status, has_body=False)


def test_a_password_that_a_location_asks_for(edge: Edge) -> None:
    reply = edge.get("/secret")
    see_that_it_is_ours(edge, reply, 401)
    assert reply.headers["www-authenticate"] == 'Basic realm="x"'


def test_a_body_that_the_disk_does_not_take(http_edge: Edge) -> None:
    """A folder that is gone fails as a full disk does, with Nginx's 500; a small body needs none."""
    folder = http_edge.home / "tmp/nginx-body"
    folder.rename(folder.with_name("away"))
    folder.write_text("")
    try:
        body = b" " * 1_000_000
        head = "POST /lstm/predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"
        see_that_it_is_ours(http_edge, http_edge.ask(head.format(len(body)).encode() + body), 507)
        assert http_edge.ask(head.format(5).encode() + b"12345").status == 200
    finally:
        folder.unlink()
        folder.with_name("away").rename(folder)


def test_what_a_worker_did_not_understand_is_logged_with_its_client(http_edge: Edge) -> None:
    """It knows neither the client nor the id that Nginx gave; what it answered otherwise, it has logged itself."""
    assert http_edge.get("/understood", "X-Request-ID: of-the-client").headers["x-request-id"] == "of-the-client"
    assert http_edge.get("/misunderstood").headers["x-request-id"] == "of-the-worker"
    assert http_edge.logged("of-the-worker")["client"] == "127.0.0.1"
    assert "of-the-client" not in http_edge.nginx.output


def test_nobody_fills_the_log(edge: Edge) -> None:
    """A path of 30,000 characters, or a method, is cut off there."""
    reply = edge.ask(f"GET /{'a' * 30_000}%00 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(edge.logged(reply.headers["x-request-id"])["path"]) <= 259
    reply = edge.ask(f"{'A' * 30_000} /_problem/404 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert edge.logged(reply.headers["x-request-id"])["method"] == "A" * 32


def test_titles_are_known() -> None:
    known = {status.value for status in HTTPStatus}
    assert {NUMBERS.get(number, number) for number in NGINX_PAGES} <= known
