"""`Request`: a request within its limits, as the views see it."""

import io
import re
import uuid
import zlib
from typing import IO, Any
from urllib.parse import quote

import orjson
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as WerkzeugRequest

from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.pipelines.pipeline import Payload

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
REQUEST_ID_KEY = "wsgiapp.request_id"
LOG_KEY = "wsgiapp.log"
GZIP = ("gzip", "x-gzip")
CHUNK_BYTES = 64 * 1024
PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # what a path has unescaped (RFC 3986, 3.3)
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
        """The path as the client sent it, percent-encoding and all.

        gunicorn has another name for it, and some servers have none; then the `:` before a verb must stay one.
        """
        environ = self.environ
        sent: str = environ.get("REQUEST_URI") or environ.get("RAW_URI") or quote(self.path, safe=PATH_CHARACTERS)
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
