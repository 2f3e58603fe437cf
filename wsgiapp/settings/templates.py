"""Files with `@{name}` placeholders, filled in and written whole."""

import re
from collections.abc import Mapping
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
    """Write files so that readers see the old or the new ones; none is replaced when one cannot be written."""
    beside = {path: path.with_name(f"{path.name}.new") for path in texts}
    for path, text in texts.items():
        beside[path].write_text(text, encoding="utf-8")
    for path in texts:
        beside[path].replace(path)
