"""`Secret`: what is known of a key or token that only its holder has.

A key's text is `wsk_<id>_<secret>`, a token's `wst_<id>_<secret>`: by the id, which is no secret, its hash is found
without a search; the prefix is what scanners for leaked secrets look for.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any, Self

from wsgiapp.errors import SettingsError

KEY_PREFIX, TOKEN_PREFIX = "wsk", "wst"
ID_BYTES, SECRET_BYTES, SALT_BYTES = 6, 32, 16
TEXT = re.compile(r"ws[kt]_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
# RFC 7914; 2 MiB and some 5 ms of a processor each. What is hashed has 256 random bits: OWASP's figures are for what
# people choose, and would have the keys of 1,000 clients wait for a minute when a worker has started.
SCRYPT = {"n": 2**11, "r": 8, "p": 1, "dklen": 32}
# Bytes of a fast hash that is compared first. It tells 65,535 of 65,536 wrong secrets, so that nobody can have the
# service compute scrypt all day; who steals the file still has 240 unknown bits before him.
FILTER_BYTES = 2


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret's hashes. It counts before `until`, a Unix time; `None`: without an end of its own."""

    id: str
    salt: bytes
    filter: bytes
    hash: bytes
    until: float | None = None

    @classmethod
    def of(cls, text: str) -> Self:
        """Of a key's or token's text."""
        _, identity, secret = text.split("_", 2)
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(identity, salt, _filter(secret, salt), _scrypt(secret, salt))

    def may_be(self, secret: str) -> bool:
        """Whether the fast hash is that of `secret`; takes a microsecond."""
        return hmac.compare_digest(self.filter, _filter(secret, self.salt))

    def is_hash_of(self, secret: str) -> bool:
        """Whether `secret` is the one; takes milliseconds, without the interpreter's lock."""
        return hmac.compare_digest(self.hash, _scrypt(secret, self.salt))

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        until = {} if self.until is None else {"until": self.until}
        return {"id": self.id, "salt": self.salt.hex(), "filter": self.filter.hex(), "scrypt": self.hash.hex(), **until}

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """Raises `SettingsError` for anything but what `as_dict` makes."""
        try:
            until = fields.get("until")
            made = cls(
                str(fields["id"]),
                bytes.fromhex(fields["salt"]),
                bytes.fromhex(fields["filter"]),
                bytes.fromhex(fields["scrypt"]),
                None if until is None else float(until),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise SettingsError("a secret needs the texts id, salt, filter and scrypt, as they were written") from exc
        if (len(made.salt), len(made.filter), len(made.hash)) != (SALT_BYTES, FILTER_BYTES, SCRYPT["dklen"]):
            raise SettingsError("a secret's salt, filter or scrypt has another length than it was written with")
        return made


def new_text(prefix: str) -> str:
    """A new key's or token's text."""
    return f"{prefix}_{secrets.token_hex(ID_BYTES)}_{secrets.token_urlsafe(SECRET_BYTES)}"


def split(text: str) -> tuple[str, str] | None:
    """The id and the secret in a text; `None` for what is neither a key nor a token."""
    match = TEXT.fullmatch(text)
    return (match[1], match[2]) if match else None


def _filter(secret: str, salt: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), key=salt, digest_size=FILTER_BYTES).digest()


def _scrypt(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, **SCRYPT)
