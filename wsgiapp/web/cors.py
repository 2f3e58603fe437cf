"""CORS: which pages of other origins may read the answers (the Fetch standard, section 3.3)."""

from wsgiapp.settings.constraints import split_words
from wsgiapp.settings.tables.gateway import Http
from wsgiapp.web.problems import is_tf_serving
from wsgiapp.web.request import Request

Headers = list[tuple[str, str]]

# Those that a page may read besides the few that it always may.
EXPOSED = "X-Request-ID, Server-Timing, Retry-After, X-Model-Version, X-Model-Label"
# As TF Serving's http_rest_api_util.cc writes them, on each answer below /v1/ where any page is allowed: that is what
# its --rest_api_enable_cors_support does. HEAD needs no permission.
METHODS = ("Access-Control-Allow-Methods", "POST, GET")
CONTENT_TYPE = "Content-Type"
TF_SERVING: Headers = [METHODS, ("Access-Control-Allow-Headers", CONTENT_TYPE)]


class Cors:
    """The headers by which a browser lets a page of another origin have an answer."""

    def __init__(self, http: Http) -> None:
        self.origins = frozenset(split_words(http.cors_origins))
        self.any = self.origins == {"*"}
        self._credentials = http.cors_credentials
        self._max_age = http.cors_max_age_seconds

    def __bool__(self) -> bool:
        """Whether there is anything to say at all."""
        return bool(self.origins)

    def allowing(self, origin: str) -> Headers:
        """The headers of an answer that a page of `origin` may read."""
        credentials = [("Access-Control-Allow-Credentials", "true")] if self._credentials else []
        return [("Access-Control-Allow-Origin", origin), *credentials, ("Access-Control-Expose-Headers", EXPOSED)]

    def preflight(self, asked: str) -> Headers:
        """The headers of a preflight's answer, besides; `asked` are the names of the headers that the page will send.

        All of them are allowed: tracing libraries add theirs, a model's `split_key` is one, and nothing here grants
        anything to who sends a header but a token.
        """
        allowed = ", ".join(filter(None, (CONTENT_TYPE, asked)))
        return [METHODS, ("Access-Control-Allow-Headers", allowed), ("Access-Control-Max-Age", str(self._max_age))]

    def answer(self, origin: str, path: str) -> Headers:
        """The headers of any answer to a request for `path`, an error, too. A cache must tell origins apart."""
        if self.any:
            return [*self.allowing("*"), *(TF_SERVING if is_tf_serving(path) else [])]
        return [*(self.allowing(origin) if origin in self.origins else []), ("Vary", "Origin")]

    def headers(self, request: Request) -> Headers:
        """The headers of the answer to `request`."""
        origin = request.environ.get("HTTP_ORIGIN", "")
        if not is_preflight(request):
            return self.answer(origin, request.path)
        asked = request.environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
        return [*self.answer(origin, ""), *self.preflight(asked)]


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what it may send (the Fetch standard, section 3.3.2)."""
    environ = request.environ
    return request.method == "OPTIONS" and "HTTP_ORIGIN" in environ and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
