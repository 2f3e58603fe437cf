"""Answers of the server's own, to what is not fit for the application."""

import re
from typing import Any, Protocol

from wsgiapp.web.compatibility import as_flask
from wsgiapp.web.cors import Cors
from wsgiapp.web.problems import DETAIL_BY_STATUS, failure_response
from wsgiapp.web.request import LOG_KEY, path_of_target, request_id
from wsgiapp.web.response import Response

METHOD = re.compile(r"[A-Za-z]{1,20}")
RETRY_AFTER_SECONDS = 1
KEPT_FIELDS = ("HTTP_ORIGIN", "HTTP_X_REQUEST_ID", "HTTP_X_FORWARDED_FOR")


class Forms(Protocol):
    """The forms that answers take here; see `http.compatibility` and `http.cors_origins`."""

    cors: Cors
    as_flask: bool


def environ_of(line: bytes, address: Any, fields: dict[str, str]) -> dict[str, Any]:
    """What a request line says that may be none, from a client at `address`; `fields` as far as they were read."""
    method, _, rest = line[:65536].decode("latin-1").strip().partition(" ")
    return {
        **{name: fields[name] for name in KEPT_FIELDS if name in fields},
        "REQUEST_METHOD": method if METHOD.fullmatch(method) else "",
        "PATH_INFO": path_of_target(rest.partition(" ")[0]) if METHOD.fullmatch(method) else "",
        "REMOTE_ADDR": str(address[0]) if isinstance(address, tuple) else "",
    }


def rejection(status: int, environ: dict[str, Any], forms: Forms, reason: str) -> Response:
    """The answer, in the form that belongs to the path; `reason` is for the access log."""
    path = environ["PATH_INFO"]
    response = failure_response(status, DETAIL_BY_STATUS[status], path, request_id(environ))
    environ[LOG_KEY] = {"status": status, "bytes": len(response.body), "error": reason}
    if status == 503:
        response.headers.append(("Retry-After", str(RETRY_AFTER_SECONDS)))
    response.headers.append(("X-Request-ID", request_id(environ)))
    if forms.as_flask:
        response = as_flask(response, path)
    if forms.cors:
        response.headers += forms.cors.answer(environ.get("HTTP_ORIGIN", ""), path)
    if environ["REQUEST_METHOD"] == "HEAD":
        response.body = b""
    return response
