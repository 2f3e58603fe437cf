"""The fenced blocks of a document: commands, what they print, files to write; and how to compare what is printed."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from support.processes import REPOSITORY

FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n$")
PRINTED = ("json", "text")
# Members of a JSON answer that differ from run to run: they are compared by their types.
BY_TYPE = {"time", "ms", "bytes", "rows", "request_id", "client", "img_out"}
MAX_DIFFERENCE = 0.1  # of a score: the demo models are trained on each machine


@dataclass(frozen=True)
class Block:
    """`info` are the words after the fence: a language, and the path of a file to write."""

    info: list[str]
    text: str
    line: int
    start: int
    end: int
    not_run: str

    @property
    def language(self) -> str:
        return self.info[0] if self.info else ""

    @property
    def is_command(self) -> bool:
        return self.language == "sh"

    @property
    def file(self) -> str:
        """The file that the block is to be written to, if it is one."""
        return self.info[1] if len(self.info) > 1 else ""


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a Markdown text, in their order."""
    found = []
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text, 0, match.start())
        is_above = reason is not None and reason.end() == match.start()
        found.append(
            Block(
                match["info"].split(),
                match["text"],
                text.count("\n", 0, match.start()) + 1,
                match.start("text"),
                match.end("text"),
                reason[1] if reason and is_above else "",
            )
        )
    return found


def steps(text: str) -> Iterator[tuple[Block, Block | None]]:
    """The commands and files of a page, each with the block of what it prints, where that follows it at once."""
    found = blocks(text)
    for block, following in zip_longest(found, found[1:]):
        if block.is_command or block.file:
            follows = following and following.language in PRINTED and not following.file
            is_next = follows and not text[block.end : following.start].replace("`", "").strip("\njsontex")
            yield block, following if block.is_command and is_next else None


def difference(expected: str, printed: str, language: str) -> str:
    """What differs in kind; empty where nothing does."""
    if language == "json":
        return _json_difference(_documents(expected), _documents(printed), "")
    wanted, got = _normalized(expected), _normalized(printed)
    return "" if wanted == got else f"--- in the document\n{wanted}\n--- printed\n{got}"


def _documents(text: str) -> list[Any]:
    """The JSON documents that follow each other in a text."""
    decoder, found, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def _json_difference(expected: Any, printed: Any, where: str) -> str:
    if type(expected) is not type(printed):
        return f"{where}: {expected!r} in the document, {printed!r} printed"
    if isinstance(expected, dict):
        if list(expected) != list(printed):
            return f"{where}: members {list(expected)} in the document, {list(printed)} printed"
        differences = (
            _json_difference(*_comparable(key, value, printed[key]), f"{where}.{key}")
            for key, value in expected.items()
        )
        return next(filter(None, differences), "")
    if isinstance(expected, list):
        if len(expected) != len(printed):
            return f"{where}: {len(expected)} items in the document, {len(printed)} printed"
        pairs = enumerate(zip(expected, printed, strict=True))
        return next(filter(None, (_json_difference(*pair, f"{where}[{i}]") for i, pair in pairs)), "")
    if isinstance(expected, float):
        return "" if abs(expected - printed) <= MAX_DIFFERENCE else f"{where}: {expected} and {printed}"
    return "" if expected == printed else f"{where}: {expected!r} in the document, {printed!r} printed"


def _comparable(key: str, *values: Any) -> Iterator[Any]:
    """The values of a member, or their types where the values differ from run to run."""
    return (type(value).__name__ if key in BY_TYPE else value for value in values)


def _normalized(text: str) -> str:
    """A text without what differs from machine to machine: paths, process ids, times, widths of columns."""
    text = re.sub(r"(?<![\w.])(/[\w.-]+)+(?=/(conf|var|models|docs)/)", "/...", text)
    text = re.sub(r"pid \d+, uptime (\d+ days?, )?[\d:]+", "pid 0, uptime 0:00:00", text)
    text = re.sub(r"dur=[\d.]+", "dur=0", text)
    text = re.sub(r"(?<=\S) {2,}", "  ", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def pages(repository: Path, language: str) -> list[Path]:
    """The README and the documents of a language, those that change the models, or make logs, last."""
    folder = repository / "docs" / ("zh" if language == "zh" else "")
    readme = repository / ("README.zh-CN.md" if language == "zh" else "README.md")
    late = ("access.md", "models-and-versions.md", "your-own-model.md")
    return [readme, *sorted(folder.glob("*.md"), key=lambda page: (page.name in late, page.name))]


def translation(page: Path) -> Path:
    """The Chinese page of an English one."""
    return page.with_name("README.zh-CN.md") if page.parent == REPOSITORY else page.parent / "zh" / page.name
