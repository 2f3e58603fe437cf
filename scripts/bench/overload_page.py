"""The tables of an overload run: on a terminal, and in the documents of both languages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.publish import NoSection
from bench.results import machine
from bench.tables import Row, aligned, markdown

BEGIN, END = "<!-- overload:begin -->", "<!-- overload:end -->"
PAGES = {"en": "docs/overload.md", "zh": "docs/zh/overload.md"}
MEASURED = {"en": "Measured in one run: {place}.", "zh": "一次运行中测得：{place}。"}
ALL_REACHED = {"en": "All figures were reached.", "zh": "全部指标都达到。"}
MISSED = {"en": "**Missed:** {lines}.", "zh": "**未达到：** {lines}。"}
# What the tables say, in Chinese; names of kinds and numbers are the same.
CHINESE = {
    "offered": "请求量",
    "req/s": "请求/秒",
    "goodput": "有效吞吐（/秒）",
    "of the peak": "占峰值",
    "p50 ms": "p50 毫秒",
    "p99 ms": "p99 毫秒",
    "rejected p99 ms": "拒绝的 p99 毫秒",
    "errors": "错误",
    "what": "内容",
}


@dataclass
class Part:
    """A table, what stands above it and below it, and the figures that were missed."""

    title: str
    head: Row
    rows: Sequence[Row]
    notes: Sequence[str]
    missed: list[str] = field(default_factory=list)

    def terminal(self) -> str:
        """As text."""
        return "\n".join([f"\n{self.title}", aligned(self.head, self.rows), *self.notes])

    def page(self, language: str) -> str:
        """As Markdown."""
        head = self.head if language == "en" else [CHINESE[name] for name in self.head]
        return "\n\n".join([f"`{self.title}`", markdown(head, self.rows)])


def publish(parts: Sequence[Part], repository: Path) -> list[Path]:
    """Write the tables into the documents; the files. Raises `NoSection` before anything is written."""
    described = machine()
    place = f"{described['cores']} cores, {described['cpu']}, Python {described['python']}"
    missed = [line for part in parts for line in part.missed]
    texts = {}
    for language, name in PAGES.items():
        said = MISSED[language].format(lines="; ".join(missed)) if missed else ALL_REACHED[language]
        content = [MEASURED[language].format(place=place), *(part.page(language) for part in parts), said]
        path = repository / name
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise NoSection(f"{name}: {BEGIN} and {END} must stand in it once, in this order")
        texts[path] = before + BEGIN + "\n" + "\n\n".join(content) + "\n" + END + after
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)
