"""`CredentialsFile`: the keys and tokens by name, in one file with hashes of their secrets."""

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsgiapp.access.holders import MAX_ROW, Key, Token
from wsgiapp.errors import SettingsError
from wsgiapp.observability.owned_files import open_owned

MODE = 0o600
VERSION = 1
MAX_BYTES = 64 * 2**20  # some 100,000 keys


@dataclass(slots=True)
class Credentials:
    """What is in the file. No row is used twice, so that a new key does not inherit the count of one before it."""

    keys: dict[str, Key] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    next_row: int = 1

    @property
    def rows(self) -> int:
        """How many rows the file of counts needs."""
        return max([self.next_row, *(key.row + 1 for key in self.keys.values())])


class CredentialsFile:
    """Reads the file, and replaces it whole. It is its owner's alone: one that others may read is rejected."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> tuple[int, ...]:
        """What changes whenever the file does; of a file that is missing `()`."""
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode, found.st_ctime_ns)

    def read(self) -> Credentials:
        """What is in it: nothing, where there is none. Raises `SettingsError`, which names no secret."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if stat.S_IMODE(found.st_mode) & ~MODE:
                    raise SettingsError(f"{self.path}: others may read or write it; `chmod 600 {self.path}`")
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return Credentials()
        except OSError as exc:
            raise SettingsError(f"{self.path}: {exc.strerror}") from exc
        if len(content) > MAX_BYTES:
            raise SettingsError(f"{self.path}: more than {MAX_BYTES} bytes")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as exc:
            raise SettingsError(f"{self.path}: not JSON") from exc
        return self._parsed(document)

    @contextmanager
    def changed(self) -> Iterator[Credentials]:
        """What is in the file, to be changed: it is written at the end, unless that raises. One change at a time."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = open_owned(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # the kernel's: who is killed lets it go
            credentials = self.read()
            yield credentials
            self._write(credentials)
        except OSError as exc:
            raise SettingsError(f"{self.path}: {exc.strerror or exc}") from exc
        finally:
            os.close(descriptor)

    def _write(self, credentials: Credentials) -> None:
        document = {
            "version": VERSION,
            "next_row": credentials.next_row,
            "keys": {name: key.as_dict() for name, key in credentials.keys.items()},
            "tokens": {name: token.as_dict() for name, token in credentials.tokens.items()},
        }
        beside = self.path.with_name(f"{self.path.name}.new")
        beside.unlink(missing_ok=True)
        descriptor = open_owned(beside, os.O_WRONLY | os.O_EXCL, MODE)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(descriptor)
        beside.replace(self.path)

    def _parsed(self, document: Any) -> Credentials:
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise SettingsError(f"{self.path}: not a file of keys and tokens of version {VERSION}")
        next_row = document.get("next_row", 1)
        if type(next_row) is not int or not 1 <= next_row <= MAX_ROW + 1:
            raise SettingsError(f"{self.path}: next_row: not a whole number from 1")
        return Credentials(self._section(document, "keys", Key), self._section(document, "tokens", Token), next_row)

    def _section(self, document: dict[str, Any], section: str, kind: Any) -> dict[str, Any]:
        values = document.get(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{self.path}: {section}: not an object with names")
        made = {}
        for name, fields in values.items():
            try:
                made[name] = kind.from_dict(name, fields)
            except SettingsError as exc:
                raise SettingsError(f"{self.path}: {section}.{name[:64]}: {exc}") from exc
        return made
