"""Files with `@{name}` placeholders, filled in and written whole."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wsgiapp.errors import SettingsError

PLACEHOLDER = re.compile(r"@\{(\w+)\}")


def fill(text: str, values: Mapping[str, str], where: Path) -> str:
    """`text` with its placeholders filled in. Raises `SettingsError` for one that has no value; `where` it stands."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise SettingsError(f"{where}: unknown placeholder {match[0]}")
        return values[match[1]]

    return PLACEHOLDER.sub(value, text)


def fill_file(template: Path, values: Mapping[str, str]) -> str:
    """A file's text with its placeholders filled in. Raises `SettingsError`, also where it cannot be read."""
    return fill(read_template(template), values, template)


def read_template(template: Path) -> str:
    """A file's text. Raises `SettingsError` where it cannot be read."""
    try:
        return template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{template}: {getattr(exc, 'strerror', None) or exc}") from exc


def replace_file(path: Path, text: str) -> bool:
    """Write a file so that readers see the old or the new one; whether it changed."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    replace_files({path: text})
    return True


def replace_files(texts: Mapping[Path, str]) -> None:
    """Write files so that readers see the old or the new ones; when one cannot be replaced, none is."""
    beside = {path: path.with_name(f"{path.name}.new") for path in texts}
    for path, text in texts.items():
        _write_beside(path, beside[path], text.encode())
    before: dict[Path, bytes | None] = {}
    try:
        for path in texts:
            old = path.read_bytes() if path.exists() else None
            with as_owner(path.parent):
                beside[path].replace(path)
            before[path] = old
    except OSError:
        for path, content in before.items():
            with as_owner(path.parent):
                if content is None:
                    path.unlink()
                else:
                    _write_beside(path, beside[path], content)
                    beside[path].replace(path)
        raise


def _write_beside(path: Path, beside: Path, content: bytes) -> None:
    """A new file, never one that somebody has put there, with the mode of the one that it will replace."""
    with as_owner(path.parent):
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.write(content)


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Where root acts, act as the folder's owner: a file is theirs then, and no link in it leads to what is root's."""
    owner = folder.stat()
    if os.geteuid() != 0 or os.getegid() != 0 or owner.st_uid == 0:
        yield
        return
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):  # nor have they put anything there
            os.seteuid(0)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
