"""What the service says of itself at `/readyz`, asked as a client does, but by no proxy."""

import http.client
import json

from wsgiapp.errors import StackError
from wsgiapp.settings.schema import Settings
from wsgiapp.web.views.health import INSTANCE_HEADER

ANSWER_SECONDS = 5.0
NGINX_ALONE = (502, 503, 504)  # what Nginx answers while it finds no worker


def client_host(settings: Settings) -> str:
    """Where clients of this machine find the service."""
    return "127.0.0.1" if settings.http.host == "0.0.0.0" else settings.http.host


def missing(settings: Settings) -> list[str]:
    """What keeps the service from being ready, one line each; empty when it is ready.

    Raises `StackError` where another program answers.
    """
    host, port = client_host(settings), settings.http.port
    # http.client knows nothing of `http_proxy`: a proxy would be asked for its own 127.0.0.1.
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
    except OSError as exc:
        return [f"{host}:{port}: {exc.strerror or exc}"]
    except http.client.HTTPException as exc:
        raise _other_program(settings, "not in HTTP") from exc
    finally:
        connection.close()
    if response.headers.get(INSTANCE_HEADER) == settings.instance:
        return [] if response.status == 200 else [str(each) for each in json.loads(body)["missing"]]
    if response.status in NGINX_ALONE:
        return [f"{host}:{port}: no worker answers (HTTP {response.status})"]
    raise _other_program(settings, f"HTTP {response.status}")


def _other_program(settings: Settings, answer: str) -> StackError:
    address = f"{client_host(settings)}:{settings.http.port}"
    return StackError(
        f"http.port: another program answers at {address} ({answer}), and not this stack; WSGIAPP_HTTP_PORT moves it"
    )
