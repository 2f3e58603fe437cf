"""Nginx: its program, and the check of its configuration."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from wsgiapp.deployment import log_relay
from wsgiapp.errors import SettingsError, StackError
from wsgiapp.inference.waiting_room import WaitingRoom
from wsgiapp.observability import logs
from wsgiapp.settings.conversion import literal
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.tables.gateway import Nginx

CHECK_SECONDS = 30.0
RELOAD_SECONDS = 10.0
POLL_SECONDS = 0.1
EMERGENCY = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")  # with the process's and the thread's id
# The variable by which Nginx hands its listening sockets to a new binary (ngx_add_inherited_sockets).
INHERITED = "NGINX"


def find_nginx(settings: Settings) -> str | None:
    """The path of Nginx's program, or `None` where none is wanted, or none is installed and none was named.

    Raises `SettingsError` for another program than the default one that is not there.
    """
    binary = settings.nginx.binary
    if not binary:
        return None
    # Debian keeps it where an ordinary user's PATH does not look.
    found = shutil.which(binary, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None and binary != Nginx().binary:
        raise SettingsError(
            f"nginx.binary = {literal(binary)}: no such program; install it, or leave it empty: then the workers serve "
            f"clients themselves"
        )
    return found


def version(nginx: str) -> tuple[int, ...]:
    """Its number, as (1, 22, 1); empty where the program does not say, as one that is made of Nginx does not."""
    try:
        said = subprocess.run(
            [nginx, "-v"], stdin=subprocess.DEVNULL, capture_output=True, timeout=CHECK_SECONDS
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(rb"\bnginx/(\d+)\.(\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()


def command(settings: Settings, nginx: str, configuration: Path) -> list[str]:
    """How Nginx is started."""
    return [nginx, "-p", str(settings.run), "-e", "stderr", "-c", str(configuration)]


def configuration_problem(settings: Settings, nginx: str, configuration: Path) -> str:
    """What Nginx does not accept in a configuration, in its words; empty where it accepts all."""
    try:
        tested = subprocess.run(
            [*command(settings, nginx, configuration), "-t"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"{nginx}: {exc}"
    if tested.returncode == 0:
        return "" if "test is successful" in tested.stderr else f"{nginx} is not Nginx: it checks no configuration"
    return tested.stderr.strip() or f"{nginx}: exit status {tested.returncode}"


def workers(master: int) -> set[int]:
    """The processes that a master has started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # proc(5): after the name come the state and the parent's pid
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == master and fields[0] != "Z":
                found.add(int(entry.name))
    return found


def reload_problem(master: int, before: set[int], log: Callable[[], list[str]]) -> str:
    """Why a master did not take its new configuration after a SIGHUP; empty once it did.

    `before` are its workers before the signal, `log` gives the lines that it logged since. `nginx -t` does not find
    all: it takes an address for free that another program listens on, and Nginx tries for 2.5 s to get it. A master
    that takes the configuration starts new workers; one that does not says why and keeps the old ones.
    """
    deadline = time.monotonic() + RELOAD_SECONDS
    reasons: list[str] = []
    while time.monotonic() < deadline:
        if workers(master) - before:
            return ""
        reasons = [match[1] for line in log() if (match := EMERGENCY.search(line))]
        if any(not reason.startswith("bind() to") for reason in reasons):  # that one it tries again
            break
        time.sleep(POLL_SECONDS)
    return "\n".join(dict.fromkeys(reasons)) or f"no new workers within {RELOAD_SECONDS:.0f} s"


def exec_nginx(settings: Settings) -> None:
    """Become Nginx's master, after the workers that a killed one left behind have stopped to accept.

    supervisord holds the socket that clients connect to, as descriptor 0: Nginx takes it as one of an Nginx before it.
    """
    nginx = find_nginx(settings)
    if nginx is None:
        raise StackError(f"{settings.nginx.binary}: no such program")
    _end_predecessor(settings)
    WaitingRoom(settings).make()
    logs.never_wait(2)  # Nginx's workers write what goes wrong themselves
    log_relay.put_before(1)
    inherited = {INHERITED: "0;"} if _is_listening(0) else {}
    os.execve(nginx, command(settings, nginx, settings.run / "nginx.conf"), {**os.environ, **inherited})


def _end_predecessor(settings: Settings) -> None:
    """Workers finish their requests and end. A master of which supervisord was killed would remove the new pid file. It
    goes first: for each worker that ends it would start another one, which accepts connections for ever.
    """
    leader = master(settings)
    if leader in orphaned_workers(settings):
        with suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
        while leader in orphaned_workers(settings):
            time.sleep(POLL_SECONDS / 20)
    for pid in orphaned_workers(settings):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)


def _is_listening(descriptor: int) -> bool:
    """Whether a descriptor is a socket that connections can be accepted from."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as found:
            return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def master(settings: Settings) -> int:
    """The process id in the pid file, which a master writes when it listens; 0 where there is none."""
    try:
        return int((settings.run / "nginx.pid").read_text())
    except (OSError, ValueError):
        return 0


def orphaned_workers(settings: Settings) -> Iterator[int]:
    """Nginx's processes in the group of the master that wrote the pid file: supervisord made it a group's leader."""
    group = master(settings)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, _, fields = (entry / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        # proc(5): after the name come the state, the parent's pid and the group's id
        state, _, of_group, *_ = fields.split()
        if name == "nginx" and state != "Z" and group and int(of_group) == group:
            yield int(entry.name)
