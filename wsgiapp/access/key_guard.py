"""`KeyGuard`: lets requests with an API key in, within what the key may use."""

import math
from typing import Any

from prometheus_client import Counter

from wsgiapp.access.authenticator import Authenticator
from wsgiapp.access.counts import Counts, until_tomorrow
from wsgiapp.access.credentials_file import Credentials
from wsgiapp.access.holders import BATCH, KEY, Key
from wsgiapp.access.secret import KEY_PREFIX
from wsgiapp.errors import PermissionDenied, RateLimited, Unauthenticated
from wsgiapp.observability import metrics

# Of whoever has no valid key. No key's name is empty.
NOBODY = ""
MISSING = (
    "an API key is missing; send it in the header `Authorization: Bearer wsk_...` or `X-API-Key: wsk_...`; "
    "`wsgiapp keys add` makes one"
)


class KeyGuard:
    """One a worker. Its decision takes some microseconds for a key that has come before."""

    def __init__(self, authenticator: Authenticator, counts: Counts) -> None:
        self._authenticator = authenticator
        self._counts = counts
        self._admitted: dict[str, Counter] = {}
        self._known = Credentials()

    def admit(self, environ: dict[str, Any], model: str = "") -> None:
        """Find the key of a request for `model`, put it into `environ` as `KEY`, and count it as used.

        A key of the priority `batch` makes `X-Priority: batch` of what its client sent.

        Raises `Unauthenticated` without a valid key, `PermissionDenied` for a model that the key may not use, and
        `RateLimited` above its rate or quota.
        """
        key = environ[KEY] = self._authenticated(environ)
        if key.priority == BATCH:
            environ["HTTP_X_PRIORITY"] = BATCH
        if model:
            require(key, model)
        if self._known is not self._authenticator.credentials:
            self._known = self._authenticator.credentials
            self._counts.grow(self._known.rows)
        self._use(key)

    def _authenticated(self, environ: dict[str, Any]) -> Key:
        header, text = _sent(environ)
        try:
            if not text:
                raise Unauthenticated(MISSING)
            holder = self._authenticator.holder(text)
            if not isinstance(holder, Key):
                raise Unauthenticated(f"{header}: not a valid API key")
        except Unauthenticated:
            metrics.REQUESTS_BY_KEY.labels(NOBODY, "unauthenticated").inc()
            raise
        return holder

    def _use(self, key: Key) -> None:
        counts = self._counts
        if key.daily_quota and counts.of_today(key.row) >= key.daily_quota:
            metrics.REQUESTS_BY_KEY.labels(key.name, "quota").inc()
            raise RateLimited(
                f"the API key {key.name!r} has used its {key.daily_quota} requests of today; the next day begins at "
                "midnight, UTC",
                math.ceil(until_tomorrow()),
            )
        if key.rate and (wait := counts.take(key.row, key.rate, key.burst)):
            metrics.REQUESTS_BY_KEY.labels(key.name, "rate").inc()
            raise RateLimited(
                f"the API key {key.name!r} may send {key.rate:g} requests a second, {key.burst} at once",
                math.ceil(wait),
            )
        counts.add(key.row)
        admitted = self._admitted.get(key.name)
        if admitted is None:
            admitted = self._admitted[key.name] = metrics.REQUESTS_BY_KEY.labels(key.name, "admitted")
        admitted.inc()


def require(key: Key, model: str) -> None:
    """Raise `PermissionDenied` for a model that a key may not use."""
    if not key.allows(model):
        metrics.REQUESTS_BY_KEY.labels(key.name, "forbidden").inc()
        raise PermissionDenied(
            f"the API key {key.name!r} may not use the model {model[:100]!r}; ask the operator for a key that names it"
        )


def _sent(environ: dict[str, Any]) -> tuple[str, str]:
    """The header that a key came in, and the key.

    `Authorization` may be for something in front of the service: without a key in it, `X-API-Key` counts.
    """
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    own = environ.get("HTTP_X_API_KEY", "")
    if own and not authorization[7:].lstrip().startswith(KEY_PREFIX):
        return "X-API-Key", own.strip()
    if authorization:
        scheme, _, text = authorization.partition(" ")
        return "Authorization", text.strip() if scheme.lower() == "bearer" else ""
    return "", ""
