"""`GlitchLimit`: how many frames a server may send that bring no call further."""

import time

from wsgiapp.backend.http2.errors import ExcessiveLoad

# What nghttp2 allows of such frames: at once, and then in a second (its stream reset and glitch rate limits; answers to
# CVE-2019-9512 to 9518, CVE-2023-44487 and CVE-2024-27316).
MAX_GLITCHES = 1000
GLITCHES_PER_SECOND = 33


class GlitchLimit:
    """Each frame without use takes one of `MAX_GLITCHES`; an answer gives all of them back, and so does time.

    PING, SETTINGS and WINDOW_UPDATE belong to these frames, too: a server needs a few of them for each call.
    """

    __slots__ = ("_left", "_refilled_at")

    def __init__(self) -> None:
        self._left = MAX_GLITCHES
        self._refilled_at = time.monotonic()

    def count(self) -> None:
        """One frame more. Raises `ExcessiveLoad`."""
        self._left -= 1
        if self._left < 0:  # the clock is asked only then
            now = time.monotonic()
            self._left = min(MAX_GLITCHES, int((now - self._refilled_at) * GLITCHES_PER_SECOND))
            self._refilled_at = now
            if not self._left:
                raise ExcessiveLoad("too many frames that bring no call further")

    def forgive(self, count: int = MAX_GLITCHES) -> None:
        """Give so many back."""
        self._left = min(MAX_GLITCHES, self._left + count)
