"""What the service says of itself at `/readyz`, asked as a client does, but by no proxy."""

import http.client
import json

from wsgiapp.deployment import nginx
from wsgiapp.errors import StackError
from wsgiapp.settings.loading import variable_name
from wsgiapp.settings.schema import Settings
from wsgiapp.web.response import INSTANCE_HEADER

ANSWER_SECONDS = 5.0
NGINX_ALONE = (502, 503, 504)  # what Nginx answers while it finds no worker


def client_host(settings: Settings) -> str:
    """Where clients of this machine find the service."""
    return "127.0.0.1" if settings.http.host == "0.0.0.0" else settings.http.host


def details_address(settings: Settings) -> tuple[str, int]:
    """Host and port where the service tells this machine what is missing: settings `http.admin_...`, with Nginx."""
    http = settings.http
    shares_port = http.admin_port in (0, http.port)
    if nginx.find_nginx(settings) is None or (shares_port and http.admin_host == "0.0.0.0"):
        return client_host(settings), http.port
    return "127.0.0.1" if http.admin_host == "0.0.0.0" else http.admin_host, http.admin_port or http.port


def missing(settings: Settings) -> list[str]:
    """What keeps the service from being ready, one line each; empty when it is ready.

    Raises `StackError` where another program answers.
    """
    host, port = details_address(settings)
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
        if response.status == 200:
            return []
        told = json.loads(body)
        return [str(each) for each in told.get("missing") or [told["detail"]]]
    if response.status in NGINX_ALONE:
        return [f"{host}:{port}: no worker answers (HTTP {response.status})"]
    raise _other_program(settings, f"HTTP {response.status}")


def _other_program(settings: Settings, answer: str) -> StackError:
    host, port = details_address(settings)
    name = "port" if port == settings.http.port else "admin_port"
    return StackError(
        f"http.{name}: another program answers at {host}:{port} ({answer}), and not this stack; "
        f"{variable_name('http', name)} moves it"
    )
