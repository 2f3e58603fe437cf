"""Any exception as an answer: a problem (RFC 9457), or, under `/v1/`, TF Serving's error."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from wsgiapp import errors
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.rest_json import answers
from wsgiapp.web.request import Request
from wsgiapp.web.response import TITLES, Response, json_bytes

STATUS_BY_ERROR: Mapping[type[errors.RequestError], int] = {
    errors.InvalidArgument: 400,
    errors.InvalidField: 400,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.ResourceExhausted: 429,
    errors.RateLimited: 429,
    errors.Cancelled: 499,  # Nginx's own number for a caller that has gone
    errors.InternalError: 500,
    errors.Unimplemented: 501,
    errors.Unavailable: 503,
    errors.Unreachable: 503,
    errors.Overloaded: 503,
    errors.AuditFailed: 507,
    errors.DeadlineExceeded: 504,
}
# What is wrong with a request that is too malformed to reach a view.
DETAIL_BY_STATUS: Mapping[int, str] = {
    400: "the request is not well-formed HTTP",
    408: "the request did not arrive in time",
    414: "the request line is longer than the limit; send large values by POST",
    431: "the request's headers are too many or too large",
    501: "Transfer-Encoding may be chunked, and nothing else",
    503: "too many connections are open; try again in a moment",
    505: "HTTP/1.1 and HTTP/1.0 are served here",
}
TF_SERVING_PREFIX = "/v1/"


def problem(status: int, detail: str, request_id: str, **more: Any) -> Response:
    """An error answer. Its body's `status` is the HTTP status and so never 0, by which clients know success."""
    body = {
        "type": "about:blank",
        "title": TITLES[status],
        "status": status,
        "detail": detail,
        **more,
        "request_id": request_id,
    }
    return Response(json_bytes(body), status, content_type="application/problem+json")


def error_response(error: Exception, request: Request) -> Response:
    """The answer to any exception that a view let through."""
    if is_tf_serving(request.path) and isinstance(error, HTTPException) and error.code in (404, 405):
        error = malformed(request)
    failure = _failure(error)
    response = failure_response(failure.status, failure.detail, request.path, request.id, failure.field)
    response.headers.extend(failure.headers.items())
    return response


def failure_response(status: int, detail: str, path: str, request_id: str, field: str | None = None) -> Response:
    """An error in the form that belongs to the path: TF Serving's, or a problem."""
    if is_tf_serving(path):
        return Response(answers.error(detail), status)
    return problem(status, detail, request_id, **({"field": field} if field else {}))


def is_tf_serving(path: str) -> bool:
    """Whether a path belongs to TF Serving's REST API."""
    return path[: len(TF_SERVING_PREFIX)].lower() == TF_SERVING_PREFIX


def malformed(request: Request) -> errors.InvalidArgument:
    """TF Serving's error for any path or method that it does not know."""
    return errors.InvalidArgument(texts.MALFORMED_REQUEST.format(method=request.method, path=request.raw_path))


@dataclasses.dataclass(frozen=True, slots=True)
class _Failure:
    status: int
    detail: str
    field: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _failure(error: Exception) -> _Failure:
    """What is told of an exception; of one that was not meant to happen, nothing."""
    if isinstance(error, errors.RequestError):
        headers = {}
        if isinstance(error, errors.Unavailable | errors.RateLimited):
            headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, errors.Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        return _Failure(STATUS_BY_ERROR[type(error)], str(error), getattr(error, "field", None), headers)
    if isinstance(error, RequestEntityTooLarge):
        return _Failure(413, "body: larger than the limit", "body")
    if isinstance(error.__context__, TimeoutError):  # Werkzeug takes a silent client for one that has gone
        return _Failure(408, "body: it did not arrive in time", "body")
    if isinstance(error, HTTPException):
        return _failure_of_http(error)
    return _Failure(500, "the service failed; the request's id finds the reason in its log")


def _failure_of_http(error: HTTPException) -> _Failure:
    """Werkzeug's own: a path or method that no route has, or a body that ended too early."""
    status = error.code or 500
    details = {400: "body: incomplete or malformed", 405: "this method is not allowed here; Allow names those that are"}
    own = ("content-type", "content-length")
    headers = {name: value for name, value in error.get_headers() if name.lower() not in own}
    return _Failure(status, details.get(status) or str(error.description), headers=headers)
