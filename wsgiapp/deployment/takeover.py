"""What a killed supervisord left behind goes on serving until other processes do in its place."""

import ctypes
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from wsgiapp.deployment import process_state
from wsgiapp.deployment.nginx import orphaned_workers
from wsgiapp.deployment.processes import end_processes, orphaned_processes
from wsgiapp.settings.schema import Settings

PIDFD_GETFD = 438  # pidfd_getfd(2), on every architecture
LISTENING_TCP, LISTENING_UNIX = "0A", "00010000"  # as in /proc/net/tcp and /proc/net/unix
# How much longer a drain may take than its own time.
GRACE_SECONDS = 5.0


def take_sockets(before: Settings, wanted: Settings) -> list[socket.socket]:
    """Duplicates of the sockets that the processes of a stack were given by their supervisord, alive or killed.

    Empty where there are none, and where others cannot serve beside these processes: where the kernel does not let this
    user have another process's descriptors, where addresses change, and where an address cannot be listened on by two
    processes: a REST port, or a container's.
    """
    if _addresses(before) != _addresses(wanted) or wanted.app.server != "builtin":
        return []
    if wanted.app.backend == "container" or wanted.backend.rest_port:
        return []
    found = {each.getsockname(): each for pid in orphaned_processes(before) for each in _listening_socket(pid)}
    address, common = (wanted.http.host, wanted.http.port), str(wanted.run / "app.sock")
    needed = {address, common} if common in found else {address}
    return list(found.values()) if needed <= found.keys() else []


def keep_metrics(settings: Settings) -> None:
    """What is left behind goes on counting in files of its own, which are added up with the others' as before."""
    for path in settings.metrics.glob("*.db"):
        path.rename(path.with_name(f"{path.stem}-{time.time_ns()}.db"))


def left_behind(settings: Settings, supervisord: int) -> list[int]:
    """The processes of a supervisord that was killed; of Nginx none, whose launcher has the others drain: until then
    the pid file is theirs, and at a SIGTERM they would close connections whose requests they have read.
    """
    others = set(orphaned_processes(settings)) - set(orphaned_workers(settings))
    return [pid for pid in others if not process_state.descends(pid, supervisord)]


def drain(settings: Settings, pids: Sequence[int]) -> None:
    """Have them end, now that others serve. A model server removes the path of its socket, which others have by now."""
    path = settings.backend.socket_path
    kept = path.with_name(f"{path.name}.kept") if path and path.is_socket() else None
    if path and kept:
        kept.unlink(missing_ok=True)
        os.link(path, kept)
    end_processes(list(pids), settings.http.drain_seconds + GRACE_SECONDS)
    if path and kept:
        kept.replace(path)


def is_listening(pid: int) -> bool:
    """Whether a process has a socket that connections can be accepted from."""
    return bool(_listening_inodes() & set(_socket_inodes(pid)))


def _addresses(settings: Settings) -> tuple[object, ...]:
    http, app = settings.http, settings.app
    return http.host, http.port, settings.nginx.binary, app.backend, settings.backend.address, settings.backend.socket


def _listening_socket(pid: int) -> Iterator[socket.socket]:
    """A duplicate of descriptor 0, where supervisord puts a program's socket."""
    with suppress(OSError):
        pidfd = os.pidfd_open(pid)
        try:
            descriptor = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, 0, 0)
        finally:
            os.close(pidfd)
        if descriptor >= 0:
            found = socket.socket(fileno=descriptor)
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield found


def _socket_inodes(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):  # closed meanwhile
            kind, _, inode = os.readlink(entry).partition(":")
            if kind == "socket":
                yield inode.strip("[]")


def _listening_inodes() -> set[str]:
    found = set()
    for name, state, inode in (("tcp", 3, 9), ("tcp6", 3, 9), ("unix", 3, 6)):
        with suppress(OSError):
            for line in (Path("/proc/net") / name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[state] in (LISTENING_TCP, LISTENING_UNIX):
                    found.add(fields[inode])
    return found
