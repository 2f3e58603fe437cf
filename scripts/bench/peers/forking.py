"""Several processes on one Unix socket, for servers that do not start their own."""

from __future__ import annotations

import os
import signal
import socket


def fork_on_socket(path: str, processes: int) -> socket.socket:
    """Listen on `path` and return in each of `processes` children; the parent waits and ends them on SIGTERM.

    Call it before gevent, gRPC or TensorFlow are imported: none of them survives a fork.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - Nginx's workers may be another user's  # nosec B103
    listener.listen(4096)
    listener.setblocking(False)
    children = []
    for _ in range(processes):
        if (child := os.fork()) == 0:
            return listener
        children.append(child)

    def end(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    for child in children:
        os.waitpid(child, 0)
    os._exit(0)
