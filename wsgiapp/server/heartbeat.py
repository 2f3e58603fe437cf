"""A worker's signs of life: whoever gets them knows that its event loop turns."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import gevent

BEAT_SECONDS = 0.25


def send_beats(to: Path, name: str) -> None:
    """Four times a second a datagram to the Unix socket `to`: the worker's `name` and pid.

    It waits neither for a reader nor for a disk, as a change of a file's time would.
    """
    message = f"{name} {os.getpid()}".encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        while True:
            with suppress(OSError):  # nobody watches, or reads too slowly
                sender.sendto(message, str(to))
            gevent.sleep(BEAT_SECONDS)
