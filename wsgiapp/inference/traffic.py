"""`Split`: each client keeps to one of a model's labels, in configured shares."""

import hashlib
from collections.abc import Mapping

HASH_BYTES = 8


class Split:
    """Shares of clients by label, such as `{"stable": 95, "canary": 5}`; the shares need not add up to 100."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._shares = shares
        self._total = sum(shares.values())

    @property
    def labels(self) -> list[str]:
        return list(self._shares)

    def label(self, key: str) -> str:
        """The label for a client known by `key`: always the same one.

        The labels take up a line from 0 to 1 in their configured order, and the key's hash is a point on it; so when a
        share grows, only clients at its border move.
        """
        digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=HASH_BYTES).digest()
        point = int.from_bytes(digest) / 2 ** (8 * HASH_BYTES) * self._total
        for label, share in self._shares.items():
            if point < share:
                return label
            point -= share
        return label  # shares like 0.1 do not add up exactly
