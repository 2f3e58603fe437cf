"""The documents hang together: links, sizes, both languages, tables, lines."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support.documents import PRINTED, blocks, pages, steps, translation
from support.processes import REPOSITORY
from wsgiapp.settings.loading import load_settings

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
CJK = "\u4e00-\u9fff\u3000-\u303f\uff00-\uffef"
ALL = [page for language in ("en", "zh") for page in pages(REPOSITORY, language)]
OTHERS = [
    *(REPOSITORY / name for name in ("CONTRIBUTING.md", "SECURITY.md", "SECURITY.zh-CN.md")),
    REPOSITORY / "docs/images/README.md",
    REPOSITORY / "docs/bench/README.md",
]


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def prose(page: Path) -> str:
    """A page without its fenced blocks; their lines stay, empty."""
    text = page.read_text(encoding="utf-8")
    for block in reversed(blocks(text)):
        text = text[: block.start] + "\n" * block.text.count("\n") + text[block.end :]
    return text


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*ALL, *OTHERS], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for groups in LINK.findall(prose(page)):
        link = next(filter(None, groups))
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short() -> None:
    for readme in ("README.md", "README.zh-CN.md"):
        assert len((REPOSITORY / readme).read_text(encoding="utf-8").splitlines()) <= 150, readme


@pytest.mark.parametrize("folder", ["docs", "docs/zh"])
def test_every_page_is_in_the_index(folder: str) -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (REPOSITORY / folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in (REPOSITORY / folder).glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("page", pages(REPOSITORY, "en"), ids=name)
def test_both_languages_show_the_same_blocks(page: Path) -> None:
    """Commands, files and what is printed; comments are translated."""
    english, other = (
        [(block.info, re.sub(r"\s+#.*", "", block.text), block.not_run) for block in blocks(each.read_text("utf-8"))]
        for each in (page, translation(page))
    )
    assert other == english


def test_each_page_is_in_both_languages() -> None:
    assert {page.name for page in (REPOSITORY / "docs").glob("*.md")} == {
        page.name for page in (REPOSITORY / "docs/zh").glob("*.md")
    }


@pytest.mark.parametrize("page", pages(REPOSITORY, "en"), ids=name)
def test_what_is_printed_stands_below_its_command(page: Path) -> None:
    """Otherwise nothing would compare it."""
    text = page.read_text(encoding="utf-8")
    compared = [printed for command, printed in steps(text) if printed and not command.not_run]
    assert compared == [block for block in blocks(text) if block.language in PRINTED and not block.file]


@pytest.mark.parametrize("page", [*ALL, *OTHERS], ids=name)
def test_no_path_is_a_machine_s(page: Path) -> None:
    """What was printed on one machine is shown with the paths of an installation."""
    assert not re.findall(r"(?<![\w.$}])/(?:home|root|tmp|work|mnt)/\S*", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", pages(REPOSITORY, "en"), ids=name)
def test_examples_of_settings_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "toml" and block.file in ("", "conf/wsgiapp.toml"):
            (tmp_path / "wsgiapp.toml").write_text(block.text, encoding="utf-8")
            load_settings({"WSGIAPP_CONF": str(tmp_path), "WSGIAPP_HOME": str(tmp_path)})


def paragraphs(page: Path) -> Iterator[tuple[str, str]]:
    """Lines of prose that follow each other."""
    lines = prose(page).splitlines()
    for line, following in pairwise(lines):
        if line.strip() and following.strip() and not line.lstrip().startswith(("|", "#", "<!--", "```", "![")):
            yield line, following


@pytest.mark.parametrize("page", [page for page in ALL if "zh" in str(page.relative_to(REPOSITORY))], ids=name)
def test_chinese_paragraphs_are_one_line(page: Path) -> None:
    """A line break between Chinese characters is shown as a space."""
    for line, following in paragraphs(page):
        starts = re.match(r"\s*([-*|#<`!]|\d+\.)", following)
        assert starts or not re.search(f"[{CJK}]", line), f"{line}\n{following}"


@pytest.mark.parametrize("page", ALL, ids=name)
def test_tables_have_equal_rows(page: Path) -> None:
    columns = 0
    for line in prose(page).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not columns or not cells or cells == columns, line
        columns = cells


@pytest.mark.parametrize("page", ALL, ids=name)
def test_diagrams_keep_their_border(page: Path) -> None:
    """The right border of a drawn box is in one column."""
    for block in blocks(page.read_text(encoding="utf-8")):
        for top, bottom in (("┐", "│"), ("+", "|")):
            lines = block.text.splitlines()
            if not lines or not lines[0].rstrip().endswith(top) or block.is_command:
                continue
            assert {len(line) for line in lines if line.rstrip().endswith(bottom)} == {len(lines[0])}, block.text
            assert not re.search(f"[{CJK}]", block.text), "two columns wide in most fonts"
