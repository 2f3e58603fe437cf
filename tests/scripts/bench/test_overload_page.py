"""The tables of an overload run, on a terminal and in the documents."""

from pathlib import Path

import pytest

from bench.overload_page import BEGIN, END, PAGES, Part, publish
from bench.publish import NoSection

GOOD = Part("text: saturation 5000/s", ["offered", "goodput"], [["1x", "4,900"]], ["memory, MB a process: 90 -> 91"])
BAD = Part("slow: saturation 2/s", ["what", "p99 ms"], [["text", "99"]], [], ["text beside slow: p99 99 ms"])


def make_pages(folder: Path, text: str) -> None:
    for name in PAGES.values():
        page = folder / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")


def test_the_terminal_has_the_notes_too() -> None:
    assert GOOD.terminal().split("\n") == [
        "",
        "text: saturation 5000/s",
        "offered  goodput",
        "-------  -------",
        "1x         4,900",
        "memory, MB a process: 90 -> 91",
    ]


def test_the_documents_name_what_was_missed(tmp_path: Path) -> None:
    make_pages(tmp_path, f"before\n{BEGIN}\nold\n{END}\nafter\n")
    english, chinese = (page.read_text(encoding="utf-8") for page in publish([GOOD, BAD], tmp_path))
    assert english.startswith(f"before\n{BEGIN}\nMeasured in one run: ")
    assert english.endswith(f"**Missed:** text beside slow: p99 99 ms.\n{END}\nafter\n")
    assert "`slow: saturation 2/s`\n\n| what | p99 ms |\n| --- | ---: |\n| text | 99 |\n" in english
    assert "| 请求量 | 有效吞吐（/秒） |" in chinese and "**未达到：**" in chinese
    assert "全部指标都达到" in publish([GOOD], tmp_path)[1].read_text(encoding="utf-8")


def test_a_page_without_the_section_leaves_all_as_it_was(tmp_path: Path) -> None:
    make_pages(tmp_path, "no section\n")
    with pytest.raises(NoSection):
        publish([GOOD], tmp_path)
    assert {(tmp_path / name).read_text() for name in PAGES.values()} == {"no section\n"}
