"""supervisord, but for its listening sockets, which outlive the programs: `python -m wsgiapp.deployment.supervisord`.

supervisord itself closes the socket of an `[fcgi-program]` when the last process of the program has ended, and opens
another one for the next: what waited to be accepted is reset, and connections are refused in between. Here it stays
open until supervisord stops, so that clients wait for whatever comes back. A socket that this process was started with
is taken instead of a new one.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

from supervisor import events, supervisord
from supervisor.datatypes import SocketConfig
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates

INHERITED = "LISTENING_DESCRIPTORS"  # the variable that names them, with commas between them

Address = Any  # a Unix socket's path, or host and port


class HeldSocket(SocketConfig):
    """The socket of one `[fcgi-program]`: what it is, and the open one."""

    def __init__(self, configured: Any, inherited: Mapping[Address, socket.socket]) -> None:
        self.url = configured.url
        self._configured = configured
        self._inherited = inherited
        self._held: socket.socket | None = None

    def get_backlog(self) -> Any:
        return self._configured.get_backlog()

    def addr(self) -> Address:
        return self._configured.addr()

    def create_and_bind(self) -> socket.socket:
        """A descriptor for supervisord to close when it likes. Raises `OSError` for an address that is taken."""
        if self._held is None:
            self._held = self._inherited.get(self.addr()) or self._configured.create_and_bind()
            events.subscribe(events.SupervisorStoppingEvent, self._release)
        return self._held.dup()

    def _release(self, event: Any) -> None:
        """Nobody comes back any more: clients are to know it at once."""
        if self._held is not None:
            self._held.close()
            self._held = None


class Options(ServerOptions):
    """supervisord's, with a `HeldSocket` for each socket."""

    def __init__(self, inherited: Mapping[Address, socket.socket]) -> None:
        super().__init__()
        self._inherited = inherited

    def parse_fcgi_socket(self, *arguments: Any) -> HeldSocket:
        return HeldSocket(super().parse_fcgi_socket(*arguments), self._inherited)


def inherited_sockets() -> dict[Address, socket.socket]:
    """The sockets that this process was started with, by their addresses. The programs are not to look for them."""
    descriptors = os.environ.pop(INHERITED, "")
    sockets = [socket.socket(fileno=int(each)) for each in descriptors.split(",") if each]
    return {each.getsockname(): each for each in sockets}


def main() -> None:
    """Run supervisord, as its own `main` does: again after a `reload`."""
    inherited, first, restarts = inherited_sockets(), True, True
    while restarts:
        options = Options(inherited)
        options.realize(doc=supervisord.__doc__)
        options.first, options.test = first, False
        supervisord.go(options)
        options.close_httpservers()
        options.close_logger()
        inherited, first, restarts = {}, False, options.mood >= SupervisorStates.RESTARTING


if __name__ == "__main__":
    main()
