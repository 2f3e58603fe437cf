"""`Request`: a request within its limits, as the views see it."""

import codecs
import io
import json
import re
import time
import uuid
import zlib
from itertools import chain
from typing import IO, Any
from urllib.parse import quote

import orjson
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.utils import cached_property
from werkzeug.wrappers import Request as WerkzeugRequest

from wsgiapp.access.holders import KEY, Key
from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.inference.call_options import DEFAULT, CallOptions
from wsgiapp.pipelines.pipeline import Payload
from wsgiapp.tfserving.rest_json.piecewise import MAX_PARSED_AT_ONCE, parse_in_pieces
from wsgiapp.web.body_memory import COUNTED_BYTES, BodyMemory
from wsgiapp.web.document_memory import DEFAULT_MAX_BYTES, DocumentMemory
from wsgiapp.web.form import Fields, parse_multipart, parse_pairs
from wsgiapp.web.turns import give_way

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# At most so many digits: what is longer is a slip.
DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
INTERACTIVE, BATCH = PRIORITIES = ("interactive", "batch")
MIN_SPENT_SECONDS, MAX_SPENT_SECONDS = 0.002, 60.0
REQUEST_ID_KEY = "wsgiapp.request_id"
LOG_KEY = "wsgiapp.log"
AUTHORITY = re.compile(r"https?://[^/?]*", re.IGNORECASE)
GZIP = ("gzip", "x-gzip")
CHUNK_BYTES = 64 * 1024
READ_BYTES = 512 * 1024
INFLATED_BYTES = 512 * 1024  # at a time, which takes 1 ms
GZIP_MAGIC = b"\x1f\x8b"
# `pigz`, `bgzip` and appending to a file make streams of several members; one each for 64 KB is usual.
MAX_GZIP_MEMBERS = 1000
URLENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
MAX_LENGTH_DIGITS = 18
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Werkzeug takes 0.6 us a byte; browsers send some 150. A longer one is disregarded, as any may be (RFC 9110, 12.5.1).
MAX_ACCEPT_BYTES = 4096
# Of the path alone: what is long belongs into the query or the body.
MAX_PATH_BYTES = 8192
PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # what a path has unescaped (RFC 3986, 3.3)


def request_id(environ: dict[str, Any]) -> str:
    """The client's `X-Request-ID` where it is fit for a log, or one made here; the same one all through a request."""
    known: str | None = environ.get(REQUEST_ID_KEY)
    if known is None:
        sent = environ.get("HTTP_X_REQUEST_ID", "")
        known = environ[REQUEST_ID_KEY] = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    return known


def client_address(environ: dict[str, Any]) -> str:
    """The peer's address, or, on the Unix socket, which has none, the client's as Nginx says it.

    That is the last entry: those before it, if a proxy keeps them, are what the client itself wrote.
    """
    address: str = environ.get("REMOTE_ADDR") or environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
    return address


def path_of_target(target: str) -> str:
    """The path of a request target, percent-encoding and all, also where the target names the host, as a proxy is sent
    it (RFC 9112, 3.2.2)."""
    path = target.partition("?")[0]
    return path if path.startswith("/") else AUTHORITY.sub("", path, count=1) or "/"


class Request(WerkzeugRequest):
    """A request whose body is read only up to the limit."""

    # Nothing here asks for these, and Werkzeug works them out for each request.
    scheme, server, root_path, remote_addr = "http", None, "", None

    def __init__(
        self,
        environ: dict[str, Any],
        max_body: int,
        max_json_memory: int = DEFAULT_MAX_BYTES,
        bodies: BodyMemory | None = None,
    ) -> None:
        """`max_body` and `max_json_memory` are in bytes; `bodies` counts those of all requests.

        Unlike Werkzeug's it is not put into `environ`: that would be a cycle, which keeps pictures in memory until the
        garbage collector comes.
        """
        self.environ = environ
        self.shallow = False
        self.method = environ["REQUEST_METHOD"]
        self.path = "/" + environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace").lstrip("/")
        self.query_string = environ.get("QUERY_STRING", "").encode("latin-1")
        self.max_content_length = max_body
        self._max_json_memory = max_json_memory
        self._memory: DocumentMemory | None = None
        self._bodies = bodies
        self._held = 0  # bytes of `bodies`

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
        """The client's address; see `client_address`."""
        return client_address(self.environ)

    @property
    def key(self) -> Key | None:
        """The API key that it came with, where keys are asked for."""
        return self.environ.get(KEY)

    def may_use(self, model: str) -> bool:
        """Whether it may know of a model."""
        return self.key is None or self.key.allows(model)

    @property
    def raw_path(self) -> str:
        """The path as the client sent it, percent-encoding and all.

        gunicorn has another name for it, and some servers have none; then the `:` before a verb must stay one.
        """
        environ = self.environ
        sent = environ.get("REQUEST_URI") or environ.get("RAW_URI") or quote(self.path, safe=PATH_CHARACTERS)
        return path_of_target(sent)

    @cached_property
    def args(self) -> Fields:  # type: ignore[override]
        """The fields of the query."""
        return parse_pairs(self.query_string, "query", give_way)

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

    @property
    def memory(self) -> DocumentMemory:
        """What counts the memory of this request's JSON."""
        if self._memory is None:
            self._memory = DocumentMemory(self._max_json_memory)
        return self._memory

    def close(self) -> None:
        """The request is answered."""
        if self._memory is not None:
            self._memory.close()
        if self._held and self._bodies is not None:
            self._bodies.give_back(self._held)
            self._held = 0

    def call_options(self) -> CallOptions:
        """How the request is to be treated: `X-Request-Timeout`, `X-Priority`, and how long Nginx had it.

        Raises `InvalidField` for a header that makes no sense.
        """
        environ = self.environ
        timeout, priority = environ.get("HTTP_X_REQUEST_TIMEOUT"), environ.get("HTTP_X_PRIORITY")
        started = environ.get("HTTP_X_REQUEST_START")
        spent = 0.0 if started is None or environ.get("REMOTE_ADDR") else _spent_seconds(started)
        if timeout is None and priority is None and not spent:
            return DEFAULT
        return CallOptions(
            None if timeout is None else _timeout_seconds(timeout),
            spent,
            priority is not None and _is_batch(priority),
        )

    def note(self, **facts: Any) -> None:
        """Add facts to this request's line in the access log."""
        self.environ.setdefault(LOG_KEY, {}).update(facts)

    def payload(self) -> Payload:
        """The fields and files of the query and the body; the body's win.

        Raises `InvalidField` for JSON that does not parse or is no object.
        """
        fields: dict[str, Any] = self.args if self.query_string else {}
        as_picture = "image/" in self.environ.get("HTTP_ACCEPT", "") and self._prefers_picture()
        if self.method != "POST":
            return Payload(fields, in_url=True, as_picture=as_picture)
        kind = self.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        body = self.body()
        if kind.startswith("image/") or kind == "application/octet-stream":
            return Payload(fields, {"": body}, as_picture=as_picture)
        if kind == MULTIPART:
            with self.memory.alone(len(body)):
                form, files = parse_multipart(body, self.environ["CONTENT_TYPE"], give_way)
            return Payload(_merged(fields, form), files, in_url=True, as_picture=as_picture)
        if kind == URLENCODED and not _is_json_in_disguise(body):
            with self.memory.alone(len(body)):
                form = parse_pairs(body, "body", give_way)
            return Payload(_merged(fields, form), in_url=True, as_picture=as_picture)
        sent = self._json_object(body)
        return Payload(_merged(fields, sent) if fields else sent, as_picture=as_picture)

    def body(self) -> bytes:
        """The whole body, to be read once. A plain one is read past Werkzeug's streams, which cut a chunked one off at
        the limit and say nothing of it."""
        length = self.environ.get("CONTENT_LENGTH", "")
        announced = int(length) if length.isdecimal() and len(length) <= MAX_LENGTH_DIGITS else None
        ends = announced is not None or self.environ.get("wsgi.input_terminated", False)
        if not ends or "HTTP_CONTENT_ENCODING" in self.environ:
            return self._counted(self.get_data(cache=False))
        limit = self.max_content_length or 0
        if announced is not None and announced > limit:
            raise RequestEntityTooLarge
        self._hold(announced or 0)
        try:
            data = _read(self.environ["wsgi.input"], limit + 1 if announced is None else announced)
        except OSError as exc:
            raise ClientDisconnected from exc
        if announced is not None and len(data) < announced:
            raise ClientDisconnected
        if len(data) > limit:
            raise RequestEntityTooLarge
        return data if announced is not None else self._counted(data)

    def _counted(self, body: bytes) -> bytes:
        """A body whose length was not known before it was read."""
        self._hold(len(body))
        return body

    def _hold(self, size: int) -> None:
        if self._bodies is not None and size >= COUNTED_BYTES:
            self._bodies.take(size)
            self._held += size

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object."""
        return self._json_object(self.body())

    def _json_object(self, body: bytes) -> dict[str, Any]:
        """A body as a JSON object; the mark that some editors begin UTF-8 with is skipped (RFC 8259, 8.1)."""
        if not body:
            return {}
        try:
            text = body.removeprefix(codecs.BOM_UTF8)
            if len(text) <= MAX_PARSED_AT_ONCE:
                parsed = orjson.loads(text)
            else:
                parsed = parse_in_pieces(text, orjson.loads, give_way, self.memory.charge)
        except json.JSONDecodeError as exc:  # orjson's error is a subclass
            raise InvalidField("body", _not_json(body, exc)) from exc
        if not isinstance(parsed, dict):
            raise InvalidField("body", f"a JSON {_kind(parsed)} where an object with named fields belongs")
        return parsed

    def _prefers_picture(self) -> bool:
        if len(self.environ["HTTP_ACCEPT"]) > MAX_ACCEPT_BYTES:
            return False
        return self.accept_mimetypes.best_match(("application/json", "image/png")) == "image/png"


def _timeout_seconds(text: str) -> float:
    if not DECIMAL.fullmatch(text) or not float(text):
        raise InvalidField("X-Request-Timeout", "not a number of seconds above 0, such as 2 or 0.5")
    return float(text)


def _is_batch(text: str) -> bool:
    if text.lower() not in PRIORITIES:
        raise InvalidField("X-Priority", f"not {' or '.join(PRIORITIES)}")
    return text.lower() == BATCH


def _spent_seconds(started: str) -> float:
    """Since Nginx had the whole request, in seconds since 1970. Only its own word counts, which comes by a Unix socket.

    What cannot be is the clock, which was set meanwhile; what is shorter than two of its ticks is nothing.
    """
    try:
        spent = time.time() - float(started)
    except ValueError:
        return 0.0
    return spent if MIN_SPENT_SECONDS < spent < MAX_SPENT_SECONDS else 0.0


def _merged(fields: dict[str, Any], more: dict[str, Any]) -> Fields:
    return Fields(chain(fields.items(), more.items()))


def _is_json_in_disguise(body: bytes) -> bool:
    """`curl -d '{...}'` calls its body a form."""
    return body[:64].removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"{", b"[")


def _not_json(body: bytes, error: json.JSONDecodeError) -> str:
    if body.startswith(UTF16_MARKS) or b"\0" in body[:2]:
        return "not JSON in UTF-8, which JSON has to be in, but UTF-16 or UTF-32"
    wrong = _first_not_utf8(body)
    if wrong is not None:
        byte = f"byte {wrong} is 0x{body[wrong]:02X}"
        return f"not JSON in UTF-8, which JSON has to be in ({byte}, which UTF-8 does not have there)"
    return f"not JSON ({error})"


def _read(stream: IO[bytes], size: int) -> bytes:
    """As much as there is, up to `size` bytes. In one call it would be kept twice for a while."""
    if size <= READ_BYTES:
        return stream.read(size)
    data = io.BytesIO()
    while size > 0 and (chunk := stream.read(min(size, READ_BYTES))):
        size -= data.write(chunk)
        give_way()  # what a client has sent already is read without waiting
    return data.getvalue()


def _first_not_utf8(body: bytes) -> int | None:
    """The place of the first byte that UTF-8 does not have there."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), INFLATED_BYTES):
        if start:
            give_way()
        kept = len(decoder.getstate()[0])
        piece = body[start : start + INFLATED_BYTES]
        try:
            decoder.decode(piece, final=start + len(piece) == len(body))
        except UnicodeDecodeError as exc:
            return start - kept + exc.start
    return None


def _gunzip(stream: IO[bytes], limit: int) -> bytes:
    """What a gzip stream holds; never more than `limit` bytes are inflated."""
    inflated = io.BytesIO()
    size, rest = 0, b""
    try:
        for _ in range(MAX_GZIP_MEMBERS):
            inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            while not inflater.eof:
                if size:
                    give_way()
                chunk = rest or stream.read(CHUNK_BYTES)
                piece = inflater.decompress(chunk, min(INFLATED_BYTES, limit - size + 1))
                if not chunk and not piece:
                    raise InvalidField("body", "the gzip stream is cut off")
                rest = inflater.unconsumed_tail
                size += inflated.write(piece)
                if size > limit:
                    raise TooLarge("body", f"it inflates to more than the limit of {limit} bytes")
            rest = inflater.unused_data or stream.read(CHUNK_BYTES)
            if not rest:
                return inflated.getvalue()
            if not rest.startswith(GZIP_MAGIC[: len(rest)]):
                raise InvalidField("body", "more data follows the end of the gzip stream")
    except zlib.error as exc:
        raise InvalidField("body", f"not gzip, as Content-Encoding says ({exc})") from exc
    raise TooLarge("body", f"a gzip stream of more than {MAX_GZIP_MEMBERS} members")


def _kind(value: Any) -> str:
    names = {list: "list", str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names[type(value)]
