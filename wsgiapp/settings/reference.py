"""The settings as a table: the documents are made from it."""

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any

from wsgiapp.settings.schema import SECTIONS, Model


def reference() -> Iterator[tuple[str, str, str, str]]:
    """Every setting as (table, key, default, meaning), in the order of this file: the docs are made from it."""
    for table, kind in [*SECTIONS.items(), ("models.NAME", Model)]:
        for each in fields(kind):
            if not (kind is Model and each.name == "name"):
                yield table, each.name, _shown_default(each), each.metadata["about"]


def _shown_default(each: Field[Any]) -> str:
    if each.default is MISSING:
        return "{}"
    if each.default is None:
        return ""
    return str(each.default).lower() if isinstance(each.default, bool) else str(each.default)
