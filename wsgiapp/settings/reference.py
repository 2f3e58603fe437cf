"""The settings' reference: the documents and `wsgiapp settings` show it."""

from collections.abc import Iterator
from dataclasses import MISSING, Field
from typing import Any, NamedTuple

from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.schema import TABLES
from wsgiapp.settings.tables.models import Model


class Row(NamedTuple):
    """One setting; `default` is empty where there is none, or where it is the empty text."""

    key: str
    default: str
    meaning: str
    after_change: str


def rows() -> Iterator[Row]:
    """Every setting, in the declared order."""
    for table, kind in [*TABLES.items(), ("models.NAME", Model)]:
        for field, declaration in declarations(kind):
            key = f"{table}.{field.name}"
            yield Row(key, _default(field), declaration.about, declaration.after_change.value)


def markdown() -> str:
    """The table that `wsgiapp settings` prints."""
    lines = ["| setting | default | meaning | after a change |", "|---|---|---|---|"]
    for row in rows():
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.key}` | {default} | {row.meaning} | `{row.after_change}` |")
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "{}"
    if field.default is None:
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
