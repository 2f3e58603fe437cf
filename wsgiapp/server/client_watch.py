"""`ClientWatch`: finds the clients that have gone while their requests wait, and aborts these."""

import select
from typing import Any

from gevent.hub import get_hub
from gevent.monkey import get_original

from wsgiapp.web.client_gone import ClientGone

# Most requests are answered before the first look at them.
LOOK_SECONDS = 0.1
# poll() reports these without being asked to, and nothing else then. A client that has only finished sending
# (shutdown(SHUT_WR), as of `nc -N`) is not among them: it waits for its answer. On a Unix socket, Nginx's, POLLHUP says
# that the other end was closed. On TCP a close looks like the end of sending, until something is sent and its answer is
# a reset: there only connections that were reset, or ended both ways, are known to be gone.
GONE = select.POLLHUP | select.POLLERR


class ClientWatch:
    """Looks at all connections whose requests may be aborted, with one system call ten times a second.

    A watcher for each request would cost more than most requests wait.
    """

    def __init__(self) -> None:
        #: The greenlets that may be aborted, each with the socket of its client.
        self.abortable: dict[Any, Any] = {}
        self._timer = get_hub().loop.timer(LOOK_SECONDS, LOOK_SECONDS)

    def start(self) -> None:
        """Look from now on."""
        self._timer.start(self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.close()

    def _look(self) -> None:
        if not self.abortable:
            return
        poll = get_original("select", "poll")()
        waiting = {}
        for greenlet, connection in self.abortable.items():
            descriptor = connection.fileno()
            if descriptor >= 0:
                waiting[descriptor] = greenlet
                poll.register(descriptor, 0)
        for descriptor, events in poll.poll(0):
            greenlet = waiting[descriptor]
            if events & GONE and greenlet in self.abortable:  # one that was aborted may have woken others
                greenlet.throw(ClientGone())
