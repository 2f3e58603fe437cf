"""`ManagementTokens`: who may look at the models, and change them, over HTTP."""

import hmac

from wsgiapp.access.authenticator import Authenticator
from wsgiapp.access.guess_throttle import GuessThrottle
from wsgiapp.access.holders import Token
from wsgiapp.errors import PermissionDenied, Unauthenticated

SETTING = "management.token"


class ManagementTokens:
    """The tokens of the file, and the one of the settings, which has all scopes."""

    def __init__(self, setting: str, authenticator: Authenticator, throttle: GuessThrottle) -> None:
        self._setting = setting.encode()
        self._authenticator = authenticator
        self._throttle = throttle

    def authorize(self, text: str, scope: str, address: str) -> str:
        """The name of who sent `text`, for the audit log.

        A token of the file has 256 random bits: it is told before anything else, and never throttled. The one of the
        settings somebody chose: an address that guesses is not answered any more whether it has found it.

        Raises `Unauthenticated`, `PermissionDenied` without the scope, `RateLimited` after many wrong tokens.
        """
        holder = self._authenticator.holder(text)
        if isinstance(holder, Token):
            if scope not in holder.scopes:
                raise PermissionDenied(f"the token {holder.name!r} has not the scope {scope!r}, which this needs")
            return holder.name
        if not self._setting and not self._authenticator.credentials.tokens:
            raise PermissionDenied(
                "management over HTTP is off: the setting management.token is empty, and `wsgiapp tokens add` has made "
                "no token"
            )
        self._throttle.require_room(address)
        if self._setting and hmac.compare_digest(text.encode("utf-8", "surrogatepass"), self._setting):
            return SETTING
        if text:  # none at all is no guess
            self._throttle.note_wrong(address)
        raise Unauthenticated(
            "Authorization: not the bearer token of the setting management.token, nor one of `wsgiapp tokens add`"
        )
