"""`Authenticator`: whose key or token a text is.

The hash in the file is slow on purpose. So a text is verified once, on a native thread; then the process knows it by a
fast digest with a key of its own, which makes the digest of no use elsewhere, and nobody can choose what it is compared
with: looking it up tells nothing by its time.
"""

import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from typing import NamedTuple

from wsgiapp.access.credentials_file import Credentials, CredentialsFile
from wsgiapp.access.holders import Holder
from wsgiapp.access.secret import Secret, split
from wsgiapp.errors import SettingsError, Unauthenticated
from wsgiapp.inference.native_threads import NativeThreads
from wsgiapp.pipelines.memory_budget import MemoryBudget

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
DIGEST_BYTES = 16
# What one scrypt takes, and how long a request waits for its turn to be verified.
SCRYPT_BYTES, VERIFY_SECONDS = 2**22, 10.0
# Wrong secrets that passed the filter, one in 65,536 of those that are tried: they are not hashed again.
MAX_REJECTED = 1024


class _Entry(NamedTuple):
    secret: Secret
    holder: Holder


class Authenticator:
    """Knows the file's secrets, and looks once a second whether it has changed, and when a text has an id that is new.

    A broken file leaves the old ones.
    """

    def __init__(self, file: CredentialsFile) -> None:
        """Raises `SettingsError` for a broken file."""
        self._file = file
        self._digest_key = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
        # However many come with a secret that is new: one processor is theirs.
        self._threads = NativeThreads(1, MemoryBudget(SCRYPT_BYTES))
        self._verified: dict[bytes, Secret] = {}
        self._rejected: OrderedDict[bytes, Secret] = OrderedDict()
        self._entries: dict[str, _Entry] = {}
        self._stamp = file.stamp()
        self._next_look = time.monotonic() + POLL_SECONDS
        self.credentials = Credentials()
        self._take(file.read())

    def holder(self, text: str) -> Holder | None:
        """Whose text it is, if anybody's. Raises `Unauthenticated` for one that counts no more."""
        if time.monotonic() >= self._next_look:
            self._look()
        digest = hashlib.blake2b(
            text.encode("utf-8", "surrogatepass"), key=self._digest_key, digest_size=DIGEST_BYTES
        ).digest()
        secret = self._verified.get(digest)
        entry = self._entries.get(secret.id) if secret else None
        if entry is None or entry.secret is not secret:
            entry = self._found(text, digest)
            if entry is None:
                return None
        now = time.time()
        if entry.holder.has_expired(now):
            raise Unauthenticated(f"{entry.holder.name!r} expired on {entry.holder.expires}")
        if entry.secret.until is not None and now >= entry.secret.until:
            raise Unauthenticated(f"this secret of {entry.holder.name!r} was replaced by a newer one")
        return entry.holder

    def _found(self, text: str, digest: bytes) -> _Entry | None:
        parts = split(text)
        if parts is None:
            return None
        if parts[0] not in self._entries:
            self._look()  # it may be new
        entry = self._entries.get(parts[0])
        if entry is None or not entry.secret.may_be(parts[1]):
            return None
        if self._rejected.get(digest) is entry.secret:
            return None
        deadline = time.monotonic() + VERIFY_SECONDS
        return entry if self._threads.run(deadline, self._verify, entry.secret, parts[1], digest) else None

    def _verify(self, secret: Secret, text: str, digest: bytes) -> bool:
        """On the thread, where others with the same text may have been before."""
        if self._verified.get(digest) is secret:
            return True
        if secret.is_hash_of(text):
            self._verified[digest] = secret
            return True
        self._rejected[digest] = secret
        if len(self._rejected) > MAX_REJECTED:
            self._rejected.popitem(last=False)
        return False

    def _look(self) -> None:
        self._next_look = time.monotonic() + POLL_SECONDS
        stamp = self._file.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            if not stamp:
                raise SettingsError(f"{self._file.path}: it is missing")
            self._take(self._file.read())
        except SettingsError as exc:
            log.error("%s; the keys and tokens from before go on", exc)

    def _take(self, credentials: Credentials) -> None:
        """A secret that has not changed stays the same object, by which what was verified stays so."""
        entries = {}
        for holder in [*credentials.keys.values(), *credentials.tokens.values()]:
            for secret in holder.secrets:
                known = self._entries.get(secret.id)
                entries[secret.id] = _Entry(known.secret if known and known.secret == secret else secret, holder)
        self._verified = {
            digest: secret
            for digest, secret in self._verified.items()
            if secret.id in entries and entries[secret.id].secret is secret
        }
        self._entries = entries
        self.credentials = credentials
