"""As whom a stack runs that root starts: as a user without rights, with whom nothing is to be had but the service.

The `wsgiapp` command itself becomes this user, before it starts anything: no process of the stack is ever root's, and
nothing that a process of the stack left in the run folder is followed with root's rights.
"""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from wsgiapp.deployment.processes import end_processes, orphaned_processes
from wsgiapp.deployment.supervisor import Supervisor
from wsgiapp.errors import RequestError, StackError
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.settings.conversion import literal
from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.schema import REPOSITORY, TABLES, Settings

# Who is chosen where `app.user` names nobody: one that was made for the service, or the one that Debian has for such.
CHOICES = ("wsgiapp", "www-data")
# All services that have no user of their own share these.
SHARED = ("nobody", "nogroup", "daemon")
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
CAP_SETPCAP = 8  # capability.h; whoever lacks it cannot shrink the set of what may be had again
CHECK_SECONDS = 60.0
# Run as the user: prints the first path that is out of reach. `supervisor` stands for all that is installed.
CHECK = """
import os, sys
import supervisor, wsgiapp.errors
for mode, path in zip(sys.argv[1::2], sys.argv[2::2]):
    trees = ([path] if mode != "tree" else
             [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in ["", *names]] or [path])
    for each in trees:
        wanted = os.W_OK | os.X_OK if mode == "write" else os.R_OK | (os.X_OK if os.path.isdir(each) else 0)
        if not os.access(each, wanted):
            sys.exit(print(mode, each))
"""


class User(NamedTuple):
    """Somebody of this machine."""

    name: str
    uid: int
    gid: int

    @classmethod
    def find(cls, key: str | int) -> "User":
        """By name or id. Raises `KeyError`."""
        entry = pwd.getpwuid(key) if isinstance(key, int) else pwd.getpwnam(key)
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)


ROOT = User("root", 0, 0)


def drop(settings: Settings, command: str, arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Where root runs a `command` on the stack, run it as the stack's user in place of this process.

    Returns, with what the operator should know, where the stack is root's. Raises `StackError`.
    """
    notices: list[str] = []
    user = of_running(settings)
    if command == "up" and not Supervisor(settings.run).is_up():
        user, notices = choose(settings)
        prepare(settings, user)
    if user != ROOT:
        for notice in notices:
            print(f"wsgiapp: {notice}", file=sys.stderr)
        become(settings, user, arguments, environ)
    return notices


def of_running(settings: Settings) -> User:
    """Who runs the stack, or ran it last."""
    for path in (settings.control_socket, settings.run):
        with suppress(OSError, KeyError):
            return User.find(path.stat().st_uid)
    return ROOT


def choose(settings: Settings) -> tuple[User, list[str]]:
    """Who is to run a stack that root starts, and what the operator should know of it.

    Raises `StackError` for a user that `app.user` names and that is not there, or cannot run it.
    """
    wanted = settings.app.user
    if wanted == ROOT.name:
        return ROOT, []
    advice = "app.user names another user; docs/operations.md says more"
    if not wanted and settings.app.backend == "container":
        return ROOT, [f"the stack runs as root, because it starts containers; {advice}"]
    users = [user for name in ([wanted] if wanted else CHOICES) if (user := _find(name))]
    if not users and wanted:
        raise StackError(f"app.user = {literal(wanted)}: no such user; `useradd --system {wanted}` makes one")
    reasons = [f"there is no user {' or '.join(CHOICES)}"]
    for user in users:
        reasons = _obstacles(settings, user)
        if not reasons:
            is_shared = user.name in SHARED
            warning = (
                f"app.user = {literal(user.name)}: other services run as this user, and can read and stop this one"
            )
            return user, [warning] if is_shared else []
        if wanted:
            raise StackError(f"app.user = {literal(wanted)}: {reasons[0]}")
    return ROOT, [f"the stack runs as root, and so does whatever a model does: {reasons[0]}; {advice}"]


def prepare(settings: Settings, user: User) -> None:
    """Give the user the folders that the stack writes to, and end what another one left behind there."""
    left = [pid for pid in orphaned_processes(settings) if _owner(pid) != user.uid]
    end_processes(left, settings.http.drain_seconds)
    for folder in (settings.run, settings.logs, settings.cache, settings.access_folder, settings.home / "tmp"):
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        _hand_over(folder, user)


def become(settings: Settings, user: User, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Run the `wsgiapp` command with these arguments as the user, in place of this process.

    No capability is left but the one for a port that others may not have, and none can be had again.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError('setpriv is missing, which util-linux has; without it, `app.user = "root"` runs all as root')
    kept = ",+net_bind_service" if min(_ports(settings)) < _first_free_port() else ""
    options = [f"--{kind}-caps=-all{kept}" for kind in ("inh", "ambient")]
    if _capabilities() >> CAP_SETPCAP & 1:
        options.append(f"--bounding-set=-all{kept}")
    who = [f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups", "--no-new-privs"]
    command = [setpriv, *who, *options, sys.executable, "-m", "wsgiapp.cli", *arguments]
    own = {"HOME": str(settings.cache), "USER": user.name, "LOGNAME": user.name}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(setpriv, command, {**environ, **own})


def _obstacles(settings: Settings, user: User) -> list[str]:
    """What keeps the user from running the stack; nothing, or the first reason."""
    try:
        checked = subprocess.run(
            [sys.executable, "-c", CHECK, *_needed(settings)],
            user=user.uid,
            group=user.gid,
            extra_groups=os.getgrouplist(user.name, user.gid),
            cwd="/",
            env={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return [f"{user.name} cannot run {sys.executable} ({getattr(exc, 'strerror', None) or exc})"]
    if checked.returncode != 0:
        lines = checked.stderr.strip().splitlines() or [f"exit status {checked.returncode}"]
        return [f"{user.name} cannot run {sys.executable} with {REPOSITORY} ({lines[-1]})"]
    mode, _, path = checked.stdout.strip().partition(" ")
    doing = "write to" if mode == "write" else "read"
    return [f"{user.name} cannot {doing} {path}"] if path else []


def _needed(settings: Settings) -> Iterator[str]:
    """Pairs of a mode and a path: to read, to read with all below it, to make files in."""
    yield from ("read", str(settings.home), "read", str(settings.conf), "read", str(settings.conf / "wsgiapp.toml"))
    if settings.app.backend != "external":
        yield from ("read", str(settings.conf / "models.config"))
        file = ModelsFile(settings)
        with suppress(RequestError):  # which `up` says better
            for model in file.parse(file.read()).model_config_list.config:
                if os.path.exists(model.base_path):
                    yield from ("tree", model.base_path)
    for path in filter(None, (settings.tls.certificate, settings.tls.key, settings.tls.client_ca)):
        yield from ("read", str(path))
    if settings.management.token:  # POST /v1/config changes models.config
        yield from ("write", str(settings.conf))


def _hand_over(folder: Path, user: User) -> None:
    """Change the owner of a folder and what is below it. No link is followed, whoever may have put it there.

    What is the user's already stays as it is: sockets that processes serve on have the group of those who ask them.
    """
    for _, folders, files, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                # A file with a second name may be somebody else's, which was only linked to here.
                if status.st_uid != user.uid and (stat.S_ISDIR(status.st_mode) or status.st_nlink == 1):
                    os.chown(name, user.uid, user.gid, dir_fd=descriptor, follow_symlinks=False)
    if folder.lstat().st_uid != user.uid:
        os.chown(folder, user.uid, user.gid, follow_symlinks=False)


def _find(name: str) -> User | None:
    try:
        return User.find(name)
    except KeyError:
        return None


def _owner(pid: int) -> int | None:
    try:
        return (Path("/proc") / str(pid)).stat().st_uid
    except OSError:
        return None


def _capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


def _ports(settings: Settings) -> Iterator[int]:
    """Those that something may have to listen on."""
    for name in TABLES:
        table = getattr(settings, name)
        ports = (getattr(table, field.name) for field, _ in declarations(type(table)) if field.name.endswith("port"))
        yield from filter(None, ports)  # 0: none


def _first_free_port() -> int:
    try:
        return int(FIRST_FREE_PORT.read_text())
    except (OSError, ValueError):
        return 1024
