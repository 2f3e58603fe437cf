"""What Nginx answers itself looks as a worker's answer does: a problem, TF Serving's error, or a Flask service's."""

from collections.abc import Mapping
from typing import NamedTuple

from wsgiapp.errors import Unavailable
from wsgiapp.settings.schema import Settings
from wsgiapp.web.compatibility import PREDICTIONS, as_flask
from wsgiapp.web.problems import DETAIL_BY_STATUS, TF_SERVING_PREFIX, failure_response

REQUEST_ID = "$known_request_id"  # Nginx's variable, see conf/nginx.conf
# A line of the map that finds the form of an error: that of `http.compatibility` for predictions.
FLASK_ERRORS = f'"~^[A-Z]+ [^ ?]*{PREDICTIONS}[ ?]" /_flask;'
RETRY_STATUSES = (429, 502, 503, 507)
METHODS = "GET, HEAD, POST, OPTIONS"
# Where the status that Nginx found is not the location's number: its own numbers, and what only the moment tells.
LOCATION_BY_STATUS: Mapping[int, str] = {494: "431", 500: "$failure", 502: "$no_answer"}


class Failure(NamedTuple):
    """An error's status and text; `field` is the field at fault."""

    status: int
    detail: str
    field: str | None = None


def failures(settings: Settings, max_predictions: int) -> Mapping[int, Failure]:
    """By the names of their locations: all that Nginx's ngx_http_special_response.c has a page for, but redirects."""
    limits = settings.limits
    line_limit = f"the request line is longer than the limit of {limits.request_line_bytes} bytes"
    details: Mapping[int, tuple[str, str | None]] = {
        400: (DETAIL_BY_STATUS[400], None),
        401: ("credentials are needed, or those that were sent are wrong", None),
        402: ("this is not open to you", None),
        403: ("this is not open to you", None),
        404: ("nothing is served at this path; / lists what is", None),
        405: ("this method is not allowed here; Allow names those that are", None),
        406: ("there is no such representation", None),
        408: ("the request did not arrive in time", None),
        409: ("the request is in conflict with the state of what it asks for", None),
        410: ("nothing is served at this path any more", None),
        411: ("Content-Length: missing", None),
        412: ("a condition in the request's headers does not hold", None),
        413: (f"body: larger than the limit of {limits.body_bytes} bytes", "body"),
        414: (f"{line_limit}; send large values by POST", None),
        415: ("the body's type is not understood", None),
        416: ("Range: outside of what there is", None),
        421: ("this host is not served on this connection; open another one", None),
        429: ("too many requests; try again in a moment", None),
        431: (DETAIL_BY_STATUS[431], None),
        500: ("the proxy failed; the request's id finds the reason in its log", None),
        501: (DETAIL_BY_STATUS[501], None),
        502: ("no worker could answer; try again in a moment", None),
        503: (f"{max_predictions} predictions are in flight; try again in a moment", None),
        504: ("the worker did not answer in time", None),
        505: (DETAIL_BY_STATUS[505], None),
        507: ("body: there is no room for it now; try again in a moment", "body"),
    }
    tls = {
        495: "the client's certificate is not valid here",
        496: "a client's certificate is needed, and none was sent",
        497: "plain HTTP was sent to the port for HTTPS",
    }
    found = {status: Failure(status, *detail) for status, detail in details.items()}
    return found | {number: Failure(400, detail) for number, detail in tls.items()}


def error_pages(settings: Settings) -> list[str]:
    """The lines that lead each of Nginx's errors to its location."""
    statuses = sorted({*failures(settings, 0), *LOCATION_BY_STATUS} - {431})
    return [f"error_page {status} = $errors/{LOCATION_BY_STATUS.get(status, status)};" for status in statuses]


def error_locations(settings: Settings, max_predictions: int) -> list[str]:
    """The locations of Nginx's own errors, with the application's bodies.

    With `http.compatibility` those of predictions have a `status` of -1, and HTTP 200 where the client is at fault.
    What no worker answered stays 502, 503 or 504, as with Nginx in front of Flask: load balancers go by that.
    """
    forms = {"/_problem": "/", "/_error": TF_SERVING_PREFIX}
    if settings.http.compatibility == "flask":
        forms["/_flask"] = PREDICTIONS
    lines = []
    for prefix, path in forms.items():
        for name, failure in failures(settings, max_predictions).items():
            response = failure_response(failure.status, failure.detail, path, REQUEST_ID, failure.field)
            if path == PREDICTIONS:
                response = as_flask(response, path)
            status = response.status if failure.status < 500 else failure.status
            lines += [
                f"location = {prefix}/{name} {{",
                "    internal;",
                f"    default_type {dict(response.headers)['Content-Type']};",
                f"    return {status} {_quoted(response.body.decode())};",
                "}",
            ]
    return lines


def maps(settings: Settings) -> list[str]:
    """The variables that `error_pages` and `own_headers` speak of, for the level of `http`.

    Nginx has one status, 500, for a full disk and for anything else. A body that may not fit into memory was the disk;
    uWSGI's packets have no room for large headers.
    """
    otherwise = 431 if settings.app.server == "uwsgi" else 500
    return [
        # What a worker answered, which has its id, has these headers already, where they belong.
        'map $upstream_http_x_request_id $own_request_id { "" $known_request_id; default ""; }',
        'map "$status$upstream_http_x_request_id" $own_retry_after {',
        *(f"    {status} {Unavailable.retry_after};" for status in RETRY_STATUSES),
        '    default "";',
        "}",
        f'map "$status$upstream_http_x_request_id" $own_allow {{ 405 "{METHODS}"; default ""; }}',
        f'map "$content_length$http_transfer_encoding" $failure {{ "~*^([0-9]{{6,}}|chunked)" 507; '
        f"default {otherwise}; }}",
    ]


def own_headers() -> list[str]:
    """The lines for what Nginx answers itself; a header with an empty value is not sent."""
    return [
        "add_header X-Request-ID $own_request_id always;",
        "add_header Retry-After $own_retry_after always;",
        "add_header Allow $own_allow always;",
    ]


def _quoted(text: str) -> str:
    """A string of Nginx's configuration. It has no way to write a `$` that begins no variable."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
