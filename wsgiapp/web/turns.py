"""`give_way`: long work is done in pieces, and each turn of the event loop does one, of whichever request."""

from collections import deque
from typing import Any

from gevent.hub import Waiter, get_hub
from gevent.monkey import get_original


class _Line:
    """Who waits for a turn of one event loop, in the order in which they came."""

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._waiting: deque[Any] = deque()
        # libev calls it once a turn, also where sockets and timers leave the loop no idle moment. A greenlet that it
        # switches to does its piece before anything else runs.
        self._each_turn = hub.loop.check()
        # With one of these the loop does not wait for events; any sleep would last the millisecond that it then waits.
        self._awake = hub.loop.idle()

    def wait(self) -> None:
        if not self._waiting:
            self._each_turn.start(self._next)
            self._awake.start(_nothing)
        waiter = Waiter(self._hub)
        self._waiting.append(waiter)
        waiter.get()

    def _next(self) -> None:
        waiter = self._waiting.popleft()
        if not self._waiting:
            self._each_turn.stop()
            self._awake.stop()
        waiter.switch(None)


# Of native threads, each of which has a loop, also where gevent has made greenlets of the others.
_local = get_original("threading", "local")()


def give_way() -> None:
    """Come back in a later turn of the event loop, after those who called this before.

    However many requests have long work to do at the same time, a turn lasts no longer than one piece of it.
    """
    line: _Line | None = getattr(_local, "line", None)
    if line is None:
        line = _local.line = _Line(get_hub())
    line.wait()


def _nothing() -> None:
    pass
