"""Requests within their limits, whole answers, and errors: problems (RFC 9457), or TF Serving's under `/v1/`."""

import dataclasses
import io
import re
import uuid
import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import IO, Any
from urllib.parse import quote

import orjson
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as WerkzeugRequest

from wsgiapp import errors
from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines import Payload
from wsgiapp.restjson import answers

STATUS: Mapping[type[errors.RequestError], int] = {
    errors.InvalidArgument: 400,
    errors.InvalidField: 400,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.ResourceExhausted: 429,
    errors.Cancelled: 499,  # Nginx's own number for a caller that has gone
    errors.InternalError: 500,
    errors.Unimplemented: 501,
    errors.Unavailable: 503,
    errors.Overloaded: 503,
    errors.DeadlineExceeded: 504,
}
TITLES: Mapping[int, str] = {
    **{status.value: status.phrase for status in HTTPStatus},
    413: "Content Too Large",  # Python 3.11 has their names from before RFC 9110
    414: "URI Too Long",
    499: "Client Closed Request",
}
STATUS_LINES: Mapping[int, str] = {status: f"{status} {title}" for status, title in TITLES.items()}

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
REQUEST_ID_KEY = "wsgiapp.request_id"
LOG_KEY = "wsgiapp.log"
TF_SERVING_PREFIX = "/v1/"
GZIP = ("gzip", "x-gzip")
CHUNK_BYTES = 64 * 1024
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def request_id(environ: dict[str, Any]) -> str:
    """The client's `X-Request-ID` where it is fit for a log, or one made here; the same one all through a request."""
    known: str | None = environ.get(REQUEST_ID_KEY)
    if known is None:
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        known = environ[REQUEST_ID_KEY] = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    return known


def client_address(environ: dict[str, Any]) -> str:
    """The peer's address, or, on the Unix socket, which has none, what Nginx says of the client and its proxies."""
    address: str = environ.get("REMOTE_ADDR") or environ.get("HTTP_X_FORWARDED_FOR", "")
    return address


class Request(WerkzeugRequest):
    """A request whose body is read only up to the limit."""

    max_form_parts = 100
    # Nothing here asks for these, and Werkzeug works them out for each request.
    scheme, server, root_path, remote_addr = "http", None, "", None

    def __init__(self, environ: dict[str, Any], max_body: int) -> None:
        """`max_body` is in bytes.

        Unlike Werkzeug's it is not put into `environ`: that would be a cycle, which keeps pictures in memory until the
        garbage collector comes.
        """
        self.environ = environ
        self.shallow = False
        self.method = environ["REQUEST_METHOD"]
        self.path = "/" + environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace").lstrip("/")
        self.query_string = environ.get("QUERY_STRING", "").encode("latin-1")
        self.max_content_length = self.max_form_memory_size = max_body

    @cached_property
    def headers(self) -> EnvironHeaders:  # type: ignore[override]
        """The client's headers."""
        return EnvironHeaders(self.environ)

    @property
    def id(self) -> str:
        """See `request_id`."""
        return request_id(self.environ)

    @property
    def client(self) -> str:
        """The client's address; behind proxies, as the first of them saw it."""
        return client_address(self.environ).partition(",")[0].strip()

    @property
    def raw_path(self) -> str:
        """The path as the client sent it, percent-encoding and all."""
        sent: str = self.environ.get("REQUEST_URI") or quote(self.path)
        return sent.partition("?")[0]

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body, inflated where it is gzipped, so that no view has to know.

        Raises `TooLarge` when it inflates to more than the limit, `InvalidField` for what is not gzip.
        """
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return super().stream
        if encoding not in GZIP:
            raise UnsupportedMediaType(f"Content-Encoding: {encoding}: only gzip is understood")
        return io.BytesIO(_gunzip(super().stream, self.max_content_length or 0))

    def note(self, **facts: Any) -> None:
        """Add facts to this request's line in the access log."""
        self.environ.setdefault(LOG_KEY, {}).update(facts)

    def payload(self) -> Payload:
        """The fields and files of the query and the body; the body's win.

        Raises `InvalidField` for JSON that does not parse or is no object.
        """
        fields: dict[str, Any] = self.args.to_dict() if self.query_string else {}
        as_picture = "image/" in self.environ.get("HTTP_ACCEPT", "") and self._prefers_picture()
        if self.method != "POST":
            return Payload(fields, in_url=True, as_picture=as_picture)
        kind = self.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if kind.startswith("image/") or kind == "application/octet-stream":
            return Payload(fields, {"": self.body()}, as_picture=as_picture)
        if kind in FORMS and not (kind == FORMS[0] and self._is_json_in_disguise()):
            files = {name: file.read() for name, file in self.files.items()}
            return Payload({**fields, **self.form.to_dict()}, files, in_url=True, as_picture=as_picture)
        return Payload({**fields, **self.json_object()}, as_picture=as_picture)

    def body(self) -> bytes:
        """The whole body, to be read once. A plain one is read past Werkzeug's streams, which cut a chunked one off at
        the limit and say nothing of it."""
        length = self.environ.get("CONTENT_LENGTH", "")
        announced = int(length) if length.isdecimal() else None
        ends = announced is not None or self.environ.get("wsgi.input_terminated", False)
        if not ends or "HTTP_CONTENT_ENCODING" in self.environ or hasattr(self, "_cached_data"):
            return self.get_data()
        limit = self.max_content_length or 0
        if announced is not None and announced > limit:
            raise RequestEntityTooLarge
        try:
            data: bytes = self.environ["wsgi.input"].read(limit + 1 if announced is None else announced)
        except OSError as exc:
            raise ClientDisconnected from exc
        if announced is not None and len(data) < announced:
            raise ClientDisconnected
        if len(data) > limit:
            raise RequestEntityTooLarge
        return data

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object."""
        body = self.body()
        if not body:
            return {}
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise InvalidField("body", f"not JSON ({exc})") from exc
        if not isinstance(parsed, dict):
            raise InvalidField("body", f"a JSON {_kind(parsed)} where an object with named fields belongs")
        return parsed

    def _prefers_picture(self) -> bool:
        return self.accept_mimetypes.best_match(("application/json", "image/png")) == "image/png"

    def _is_json_in_disguise(self) -> bool:
        """`curl -d '{...}'` calls its body a form. Werkzeug parses one from the bytes that are kept here."""
        self._cached_data = self.body()
        return self._cached_data[:64].lstrip()[:1] in (b"{", b"[")


class Response:
    """A whole answer. As a WSGI application it sends itself.

    It does what is needed of Werkzeug's, which a prediction felt (measured: 14 us of 345 for a warm call, and several
    times that among other work).
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes, status: int = 200, *, content_type: str = "application/json") -> None:
        self.body = body
        self.status = status
        self.headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(STATUS_LINES[self.status], self.headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


def answer(body: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer. `body` may hold numpy arrays and scalars."""
    return Response(json_bytes(body), status)


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON in UTF-8; floats as short as their dtype allows."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


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
    return errors.InvalidArgument(f"Malformed request: {request.method} {request.raw_path}")


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
        if isinstance(error, errors.Unavailable):
            headers["Retry-After"] = str(error.retry_after)
        if isinstance(error, errors.Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        return _Failure(STATUS[type(error)], str(error), getattr(error, "field", None), headers)
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


def _gunzip(stream: IO[bytes], limit: int) -> bytes:
    """What a gzip stream of one member holds; never more than `limit` bytes are inflated."""
    inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    pieces, size = [], 0
    try:
        while not inflater.eof and (chunk := stream.read(CHUNK_BYTES)):
            pieces.append(inflater.decompress(chunk, limit - size + 1))
            size += len(pieces[-1])
            if size > limit:
                raise TooLarge("body", f"it inflates to more than the limit of {limit} bytes")
    except zlib.error as exc:
        raise InvalidField("body", f"not gzip, as Content-Encoding says ({exc})") from exc
    if not inflater.eof:
        raise InvalidField("body", "the gzip stream is cut off")
    if inflater.unused_data or stream.read(1):
        raise InvalidField("body", "more data follows the end of the gzip stream")
    return b"".join(pieces)


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names[type(value)]
