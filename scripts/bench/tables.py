"""The results as text: aligned columns for a terminal, or Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

Row = Sequence[str]


def aligned(head: Row, rows: Sequence[Row]) -> str:
    """Columns of equal width: the first flush left, the others flush right."""
    table = [list(head), *map(list, rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [_padded(cell, width, left=i == 0) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def markdown(head: Row, rows: Sequence[Row]) -> str:
    """A Markdown table; all columns but the first flush right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def number(value: float | None, digits: int = 0) -> str:
    """With thousands separated; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:,.{digits}f}"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _padded(text: str, width: int, left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if left else space + text
