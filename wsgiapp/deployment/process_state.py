"""What `/proc` tells of a process, also of one that cannot tell anything itself."""

from collections.abc import Iterator
from pathlib import Path

STOPPED, TRACED = "T", "t"
PROC = Path("/proc")


def state(pid: int) -> str:
    """The letter of proc(5): R, S, D, Z, T (stopped by a signal), t (by a debugger); empty where it has ended."""
    return next(iter(_fields(pid)), "")


def is_child(pid: int, parent: int) -> bool:
    """Whether a process runs, is a child of another one, and nobody looks at it with a debugger."""
    fields = _fields(pid)
    return len(fields) > 1 and fields[0] not in ("Z", TRACED) and int(fields[1]) == parent


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is another one's child, or its child's, and so on; also where it has ended."""
    fields = _fields(pid)
    return not fields or int(fields[1]) == ancestor or (int(fields[1]) > 1 and descends(int(fields[1]), ancestor))


def environment_value(pid: int, name: str) -> str:
    """A variable that a process was started with; empty where it has none, or is another user's."""
    try:
        entries = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    start = f"{name}=".encode()
    return next((entry[len(start) :].decode(errors="replace") for entry in entries if entry.startswith(start)), "")


def systemd_unit(pid: int) -> str:
    """The system's service that a process belongs to; empty where it belongs to none, as in a user's session."""
    try:
        path = (PROC / str(pid) / "cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    except (OSError, IndexError):
        return ""
    name = path.rpartition("/")[2]
    return name if path.startswith("/system.slice/") and name.endswith(".service") else ""


def threads(pid: int) -> Iterator[str]:
    """A line for each thread: its name, its state, and where in the kernel it waits."""
    for task in sorted((PROC / str(pid) / "task").glob("*")):
        try:
            name, where = (task / "comm").read_text().strip(), (task / "wchan").read_text().strip("0\n")
            letter = _fields(int(task.name))[0]
            yield f"thread {task.name} {name}: state {letter}, waits in {where or 'no kernel function'}"
        except (OSError, IndexError):  # ended meanwhile
            continue


def _fields(pid: int) -> list[str]:
    """Those of `stat` behind the name, which is in parentheses and may have any in it."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
