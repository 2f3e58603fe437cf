"""`AuditLog`: who changed what, one JSON line each, in `audit.log`.

Before a change, its line with the outcome `begun` is written: where it cannot be, nothing is changed. The line after it
says how it ended. Where that cannot be written, the process's own log has it, and a counter tells: the change is made.
"""

import errno
import fcntl
import getpass
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from wsgiapp.errors import AuditFailed, WsgiappError
from wsgiapp.observability import metrics
from wsgiapp.observability.owned_files import open_owned

log = logging.getLogger(__name__)

NAME = "audit.log"
MODE = 0o640
MAX_TEXT = 200
MAX_MEMBERS = 50
# A write of a line takes microseconds.
SETTLE_SECONDS = 0.005


class Actor(NamedTuple):
    """Who makes a change. On the command line there is neither an address nor a request."""

    name: str
    address: str = ""
    request_id: str = ""

    @classmethod
    def local(cls) -> "Actor":
        """Whose process this is; who became that user by sudo is named."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # an id without a name, as in containers
            user = str(os.getuid())
        before = os.environ.get("SUDO_USER", "")
        return cls(f"local:{user}" + (f" (sudo: {before})" if before else ""))


class AuditLog:
    """The file, rotated at `max_bytes`, with `backups` older ones beside it. Several processes may write."""

    def __init__(self, folder: Path, max_bytes: int, backups: int) -> None:
        self.path = folder / NAME
        self._max_bytes = max_bytes
        self._backups = backups

    @contextmanager
    def change(self, actor: Actor, action: str, *, again: bool = False, **what: Any) -> Iterator[dict[str, Any]]:
        """Write the lines before and after a change; what is put into the dict stands in the second one.

        `again`: it failed a moment ago and is tried over and over; only its success is written.

        Raises `AuditFailed` before anything is done.
        """
        facts = {**actor._asdict(), "action": action, **what}
        try:
            if not again:
                self._write({**facts, "outcome": "begun"})
        except OSError as exc:
            raise AuditFailed(
                f"{NAME} cannot be written ({exc.strerror}), and without a line in it nothing is changed"
            ) from exc
        more: dict[str, Any] = {}
        try:
            yield more
        except BaseException as exc:
            error = str(exc) if isinstance(exc, WsgiappError) else type(exc).__name__
            if not again:
                self._write_after({**facts, **more, "outcome": "failed", "error": error})
            raise
        self._write_after({**facts, **more, "outcome": "done"})

    def _write_after(self, facts: dict[str, Any]) -> None:
        try:
            self._write(facts)
        except OSError as exc:
            metrics.AUDIT_LINES_LOST.labels(facts["action"]).inc()
            log.error("%s: %s; the line: %s", self.path, exc.strerror, _line(facts).decode().rstrip())

    def _write(self, facts: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rotate()
        descriptor = open_owned(self.path, os.O_RDWR | os.O_APPEND, MODE)
        try:
            line = _line(facts)
            if _is_cut_off(descriptor):
                line = b"\n" + line
            written = os.write(descriptor, line)  # at the end, whoever else writes (O_APPEND)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        """Where another process is about to, it is left to it: nobody waits here, and no line is lost by it."""
        with suppress(OSError):
            if self.path.stat().st_size < self._max_bytes:
                return
            descriptor = open_owned(self.path.with_name(f".{NAME}.lock"), os.O_RDWR, MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.path.stat().st_size < self._max_bytes:
                    return
                names = [
                    self.path,
                    *(self.path.with_name(f"{NAME}.{number}") for number in range(1, self._backups + 1)),
                ]
                for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
                    with suppress(FileNotFoundError):
                        newer.replace(older)
                if not self._backups:
                    self.path.unlink()
            finally:
                os.close(descriptor)


def _is_cut_off(descriptor: int) -> bool:
    """Whether a full disk cut the last line off. One that another process is writing just now grows to its end."""
    seen = -1
    while (size := os.fstat(descriptor).st_size) != seen:
        if not size or os.pread(descriptor, 1, size - 1) == b"\n":
            return False
        seen = size
        time.sleep(SETTLE_SECONDS)
    return True


def _line(facts: dict[str, Any]) -> bytes:
    stamped = {"time": round(time.time(), 3), **facts}
    return json.dumps(_bounded(stamped), ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


def _bounded(value: Any) -> Any:
    """No more of it than a line has room for: a client chooses much of what stands there."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}..."
    if isinstance(value, dict):
        return {_bounded(str(name)): _bounded(each) for name, each in list(value.items())[:MAX_MEMBERS]}
    if isinstance(value, list | tuple):
        return [_bounded(each) for each in value[:MAX_MEMBERS]]
    return value
