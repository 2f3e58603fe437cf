"""Pages of other origins, through Nginx: by their headers, and in a real browser."""

import http.client
import http.server
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.front import Front
from support.http_client import Answer, fetch
from support.processes import free_port, poll
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.render import render
from wsgiapp.settings.constraints import Origins
from wsgiapp.settings.loading import load_settings
from wsgiapp.web.cors import EXPOSED

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

BROWSERS = ("chromium-headless-shell", "chromium")  # Debian's
LINE = "5oiR5b6I5Zac5qyi"  # 我很喜欢
ASKS = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type,x-user"}


class Page:
    """A blank page at two origins: `named`, which the service knows, and `other`, which it does not."""

    def __init__(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank)
        self.named, self.other = (f"http://{host}:{self._server.server_port}" for host in ("127.0.0.1", "localhost"))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Blank(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a shop</title>")

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


@pytest.fixture(scope="module")
def front(page: Page, session_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    variables = {"WSGIAPP_HTTP_CORS_ORIGINS": page.named, "WSGIAPP_HTTP_CORS_CREDENTIALS": "true"}
    backend = f"127.0.0.1:{session_stack.backend_port}"
    session_stack.wait_until_ready()
    own = "location /locked { deny all; }"
    with Front(tmp_path_factory.mktemp("cors"), backend, own_nginx=own, **variables) as started:
        yield started


def see_that_it_may_be_read(answer: Answer, origin: str) -> None:
    """Each header is there once: `Answer` keeps one of a name, and two would have been joined or lost a value."""
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED
    assert answer.headers["Vary"] == "Origin"


ANSWERS: list[tuple[str, Any, str, int]] = [
    (f"/lstm/predict?line={LINE}", None, "GET", 200),
    ("/lstm/predict?line=***", None, "GET", 400),
    ("/v1/models/lstm", None, "GET", 200),
    ("/nosuch", None, "GET", 404),
    ("/lstm/predict", b"{}", "PUT", 405),
    ("/lstm/predict", b" " * (2 * 2**20 + 1), "POST", 413),
    ("/v1/models/lstm:predict", b" " * (2 * 2**20 + 1), "POST", 413),
    (f"/lstm/predict?line={'A' * (600 * 1024)}", None, "GET", 414),
]


@pytest.mark.parametrize(("path", "body", "method", "status"), ANSWERS, ids=[f"{row[2]} {row[3]}" for row in ANSWERS])
def test_every_answer_says_who_may_read_it(
    front: Front, page: Page, path: str, body: Any, method: str, status: int
) -> None:
    """Of Nginx, of a worker through it, and of a worker alone, which reads what follows a line that is too long."""
    for address in (front.url, front.worker_url):
        answer = fetch(address + path, body, method, Origin=page.named)
        assert answer.status == status
        see_that_it_may_be_read(answer, page.named)
        other = fetch(address + path, body, method, Origin=page.other)
        assert other.status == status
        assert other.headers.get("Access-Control-Allow-Origin", page.named) != page.other


def test_a_location_of_the_user_s_own(front: Front, page: Page) -> None:
    """Also a preflight for what asks for a password is answered: a browser sends none with it."""
    answer = fetch(f"{front.url}/locked", Origin=page.named)
    assert answer.status == 403
    see_that_it_may_be_read(answer, page.named)
    assert fetch(f"{front.url}/locked", method="OPTIONS", Origin=page.named, **ASKS).status == 200


def test_each_header_is_sent_once(front: Front, page: Page) -> None:
    for path in (f"/lstm/predict?line={LINE}", "/healthz", "/lstm/predict?line=***", "/nosuch"):
        connection = http.client.HTTPConnection(*front.url.removeprefix("http://").split(":"), timeout=30)
        connection.request("GET", path, headers={"Origin": page.named})
        response = connection.getresponse()
        response.read()
        for name in ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary"):
            assert len(response.headers.get_all(name, [])) == 1, (path, name)
        connection.close()


@pytest.mark.parametrize("path", ["/lstm/predict", "/v1/models/lstm:predict", "/nosuch"])
def test_a_preflight_has_the_same_headers_from_nginx_as_from_a_worker(front: Front, page: Page, path: str) -> None:
    from_nginx, from_worker = (
        fetch(address + path, method="OPTIONS", Origin=page.named, **ASKS) for address in (front.url, front.worker_url)
    )

    def cors_headers(answer: Answer) -> dict[str, str]:
        assert (answer.status, answer.body) == (200, b"")
        return {name: value for name, value in answer.headers.items() if name == "Vary" or name.startswith("Access-")}

    assert cors_headers(from_nginx) == cors_headers(from_worker)
    assert from_nginx.headers["Access-Control-Allow-Headers"] == "Content-Type, content-type,x-user"
    assert from_nginx.headers["Access-Control-Max-Age"] == "7200"
    rejected = fetch(front.url + path, method="OPTIONS", Origin=page.other, **ASKS)
    assert "Access-Control-Allow-Origin" not in rejected.headers
    plain = fetch(f"{front.url}/lstm/predict", method="OPTIONS", Origin=page.named)
    assert plain.status == 405, "only what a browser asks is a preflight"


SCRIPT = """async ({url, options}) => {
    try {
        const answer = await fetch(url, options);
        const header = name => answer.headers.get(name);
        const headers = Object.fromEntries(['X-Request-ID', 'Server-Timing', 'Retry-After'].map(n => [n, header(n)]));
        return {status: answer.status, body: await answer.json(), headers};
    } catch (error) { return {failed: String(error)}; }
}"""


def test_a_page_in_a_browser(front: Front, page: Page) -> None:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser here; one of Debian's packages {', '.join(BROWSERS)} is needed")
    driver = subprocess.run([sys.executable, "-m", "playwright", "--version"], capture_output=True, text=True)
    if driver.returncode:
        pytest.skip(f"what drives the browser does not start: {driver.stderr.strip()}")
    from playwright.sync_api import sync_playwright

    json_type = {"Content-Type": "application/json", "X-User": "u-1"}  # either makes the browser ask first
    post = {"method": "POST", "headers": json_type, "body": json.dumps({"line": "我很喜欢"})}
    text, tensors = f"{front.url}/lstm/predict", f"{front.url}/v1/models/lstm:predict"
    rows = {**post, "body": json.dumps({"instances": [{"words": ["非常", "讨厌"], "nwords": 2}]})}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        shown = browser.new_page()

        def ask(url: str, **options: Any) -> Any:
            return shown.evaluate(SCRIPT, {"url": url, "options": options})

        shown.goto(page.named)
        answered = ask(text, **post)
        assert (answered["status"], answered["body"]["labels"]) == (200, "POS")
        assert answered["headers"]["X-Request-ID"] and "predict;dur=" in answered["headers"]["Server-Timing"]
        assert ask(f"{text}?line={LINE}", credentials="include")["body"]["labels"] == "POS"
        assert ask(tensors, **rows)["body"]["predictions"][0]["labels"] == "NEG"
        wrong = ask(text, **{**post, "body": "{"})
        assert (wrong["status"], wrong["body"]["field"]) == (400, "body")
        large = ask(text, **{**post, "body": " " * (2 * 2**20 + 1)})
        assert (large["status"], large["body"]["status"]) == (413, 413), "Nginx's own"
        assert ask(text, method="PUT") == {"failed": "TypeError: Failed to fetch"}, "the preflight names no PUT"

        shown.goto(page.other)
        for options in (post, {}):
            assert ask(text, **options) == {"failed": "TypeError: Failed to fetch"}
        browser.close()


def test_where_no_worker_answers(page: Page, tmp_path: Path) -> None:
    """A worker that is stopped, with all that Nginx sends it at a time; then one that is gone."""
    with Front(tmp_path, f"127.0.0.1:{free_port()}", WSGIAPP_HTTP_CORS_ORIGINS=page.named) as front:
        url = f"{front.url}/lstm/predict?line={LINE}"
        headers = {"Origin": page.named}
        assert fetch(url, Origin=page.named).headers["Access-Control-Allow-Origin"] == page.named, (
            "the model server's 503"
        )
        front.worker.send(signal.SIGSTOP)
        host, port = front.url.removeprefix("http://").split(":")
        waiting = [
            http.client.HTTPConnection(host, int(port), timeout=60) for _ in range(9)
        ]  # its own socket, 8 backups
        for connection in waiting:
            connection.request("GET", f"/lstm/predict?line={LINE}", headers=headers)
        full = poll(lambda: found if (found := fetch(url, Origin=page.named)).status == 503 else None, 20)
        assert "9 predictions are in flight" in full.json["detail"]
        assert full.headers["Access-Control-Allow-Origin"] == page.named
        assert (full.headers["Vary"], full.headers["Retry-After"]) == ("Origin", "1")
        asked = fetch(url, method="OPTIONS", Origin=page.named, **ASKS)
        assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (200, page.named), (
            "full for no preflight"
        )
        for connection in waiting:
            connection.close()
        front.worker.send(signal.SIGKILL)
        front.worker.wait()
        gone = fetch(url, Origin=page.named)
        assert (gone.status, gone.headers["Access-Control-Allow-Origin"]) == (502, page.named)
        assert "Access-Control-Allow-Origin" not in fetch(url, Origin=page.other).headers


def test_nginx_takes_every_origin_that_the_settings_take(tmp_path: Path) -> None:
    longest = f"https://{'.'.join(['a' * 63] * 5)}"[:300]
    assert not Origins().violation(longest) and Origins().violation(f"{longest}a")
    origins = f"{longest} http://[::1]:8000 capacitor://localhost http://a_b.example"
    for number, (value, directive) in enumerate(((origins, "capacitor://localhost"), ("*", 'default "*"'), ("", ""))):
        home = tmp_path / str(number)
        settings = load_settings({"WSGIAPP_HOME": str(home), "WSGIAPP_HTTP_CORS_ORIGINS": value})
        render(settings)  # which has Nginx check it
        text = (settings.run / "nginx.conf").read_text()
        assert directive in text
        assert ("add_header Access-Control-" in text) == bool(value)
