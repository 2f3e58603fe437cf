"""CORS as headers, without a browser: what a page of another origin is told, in every kind of answer of a worker."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from support.lexicon import give_lexicon
from support.processes import free_port
from wsgiapp.app import create_app
from wsgiapp.settings.loading import load_settings

PAGE = "https://shop.example"
ALLOWED = f"{PAGE}, http://localhost:3000"
EXPOSED = "X-Request-ID, Server-Timing, Retry-After, X-Model-Version, X-Model-Label"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-user"}

Made = Callable[..., Client]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Clients of an application with `[http]` as named; its model server is away, and predictions are answered 503."""
    folder = tmp_path_factory.mktemp("cors")
    give_lexicon(folder)
    away = f"127.0.0.1:{free_port()}"

    def make(http: str) -> Client:
        (folder / "wsgiapp.toml").write_text(f'[http]\n{http}\n[models.lstm]\npipeline = "segmented_text"\n')
        variables = {"WSGIAPP_CONF": str(folder), "WSGIAPP_HOME": str(folder), "WSGIAPP_BACKEND_ADDRESS": away}
        return Client(create_app(load_settings(variables), io.BytesIO()))

    return make


def cors_headers(answer: TestResponse) -> dict[str, str]:
    """Each of them may be there once."""
    found = [(name, value) for name, value in answer.headers if name == "Vary" or name.startswith("Access-Control-")]
    assert len(dict(found)) == len(found), found
    return dict(found)


ANSWERS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/healthz", {}, 200),
    ("GET", "/", {}, 200),
    ("GET", "/readyz", {}, 503),
    ("GET", "/lstm/predict?line=***", {}, 400),
    ("POST", "/lstm/predict", {"json": {"line": "好"}}, 503),
    ("POST", "/lstm/predict", {"json": {"line": "好" * 10_001}}, 413),
    ("PUT", "/lstm/predict", {}, 405),
    ("OPTIONS", "/lstm/predict", {}, 405),
    ("GET", "/nosuch", {}, 404),
    ("POST", "/v1/models/lstm:predict", {"json": {"instances": [1]}}, 503),
    ("POST", "/v1/models/lstm:explain", {"json": {}}, 400),
    ("GET", "/v1/config", {}, 403),
]


@pytest.mark.parametrize(("method", "path", "arguments", "status"), ANSWERS)
def test_a_page_that_is_named_may_read_every_answer(
    made: Made, method: str, path: str, arguments: dict[str, Any], status: int
) -> None:
    client = made(f'cors_origins = "{ALLOWED}"')
    answer = client.open(path, method=method, headers={"Origin": PAGE}, **arguments)
    assert answer.status_code == status
    assert cors_headers(answer) == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Expose-Headers": EXPOSED,
        "Vary": "Origin",
    }


@pytest.mark.parametrize(
    "origin", ["https://other.example", "null", f"{PAGE}.evil.example", f"{PAGE}:444", PAGE.upper(), None]
)
@pytest.mark.parametrize("asks", [{}, ASKS])
def test_other_pages_may_read_nothing(made: Made, origin: str | None, asks: dict[str, str]) -> None:
    """A cache that has the answer for them must not give it to a page that is named."""
    client = made(f'cors_origins = "{ALLOWED}"\ncors_credentials = true')
    headers = {**({"Origin": origin} if origin else {}), **asks}
    answer = client.options("/lstm/predict", headers=headers) if asks else client.get("/healthz", headers=headers)
    found = cors_headers(answer)
    assert found["Vary"] == "Origin"
    assert not {"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"} & set(found)


@pytest.mark.parametrize("path", ["/lstm/predict", "/predict", "/lstm/versions/1/predict", "/v1/models/lstm:predict"])
def test_a_preflight(made: Made, path: str) -> None:
    client = made(f'cors_origins = "{ALLOWED}"\ncors_credentials = true\ncors_max_age_seconds = 60')
    answer = client.options(path, headers={"Origin": PAGE, **ASKS})
    assert (answer.status_code, answer.data) == (200, b"")
    assert cors_headers(answer) == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type, content-type,x-user",
        "Access-Control-Expose-Headers": EXPOSED,
        "Access-Control-Max-Age": "60",
        "Vary": "Origin",
    }
    assert answer.headers["X-Request-ID"]


def test_any_page(made: Made) -> None:
    """Never together with credentials: the settings reject that (see tests/settings)."""
    client = made('cors_origins = "*"')
    expected = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED}
    for headers in ({"Origin": PAGE}, {"Origin": "null"}, {}):
        assert cors_headers(client.get("/lstm/predict?line=***", headers=headers)) == expected
    preflight = cors_headers(client.options("/v1/models/lstm:predict", headers={"Origin": PAGE, **ASKS}))
    assert preflight == {
        **expected,
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type, content-type,x-user",
        "Access-Control-Max-Age": "7200",
    }


def test_nothing_of_it_by_default(made: Made) -> None:
    client = made("")
    for method, path, arguments, status in ANSWERS:
        answer = client.open(path, method=method, headers={"Origin": PAGE}, **arguments)
        assert (answer.status_code, cors_headers(answer)) == (status, {}), path
    preflight = client.options("/lstm/predict", headers={"Origin": PAGE, **ASKS})
    assert (preflight.status_code, cors_headers(preflight)) == (405, {})


def test_errors_of_a_flask_service_are_readable_too(made: Made) -> None:
    client = made('cors_origins = "*"\ncompatibility = "flask"')
    answer = client.get("/lstm/predict?line=***", headers={"Origin": PAGE})
    assert (answer.status_code, json.loads(answer.data)["status"]) == (200, -1)
    assert cors_headers(answer)["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("origin", "status", "body"),
    [("http://page.example", 200, b""), ("https://a", 200, b""), ("null", 400, None), ("", 400, None)],
)
def test_options_below_v1_are_answered_as_tf_serving_answers_them(
    made: Made, origin: str, status: int, body: bytes | None
) -> None:
    """With and without its --rest_api_enable_cors_support (http_server.cc)."""
    for http in ("", 'cors_origins = "*"'):
        answer = made(http).options("/v1/models/lstm:predict", headers={"Origin": origin} if origin else {})
        assert answer.status_code == status
        assert answer.data == body if body is not None else b"Origin header is missing in CORS preflight" in answer.data
        expected = {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "POST, GET",
            "Access-Control-Allow-Headers": "Content-Type",
            "Access-Control-Expose-Headers": EXPOSED,
        }
        assert cors_headers(answer) == (expected if http else {})


def test_the_log_has_preflights(tmp_path: Path) -> None:
    (tmp_path / "wsgiapp.toml").write_text(f'[http]\ncors_origins = "{PAGE}"\n')
    log = io.BytesIO()
    app = create_app(load_settings({"WSGIAPP_CONF": str(tmp_path), "WSGIAPP_HOME": str(tmp_path)}), log)
    Client(app).options("/lstm/predict", headers={"Origin": PAGE, **ASKS})
    line = json.loads(log.getvalue())
    assert (line["method"], line["path"], line["status"]) == ("OPTIONS", "/lstm/predict", 200)
