"""The reference in the documents is what is declared, in both languages."""

import re
from collections.abc import Iterator
from pathlib import Path

from support.processes import REPOSITORY
from wsgiapp.settings import reference

TABLE = re.compile(r"<!-- settings:begin -->\n(.*?)\n<!-- settings:end -->", re.DOTALL)
ROW = re.compile(r"\| `(?P<key>[\w.]+)` \| (?:`(?P<default>[^`]+)`)? ?\| (?P<meaning>.+) \| `(?P<after>[^`]+)` \|")


def table(page: Path) -> str:
    found = TABLE.search(page.read_text(encoding="utf-8"))
    assert found, f"{page}: no table of the settings"
    return found[1]


def translated() -> Iterator[re.Match[str]]:
    for line in table(REPOSITORY / "docs/zh/settings.md").splitlines()[2:]:
        row = ROW.fullmatch(line)
        assert row, line
        yield row


def test_the_english_page_has_what_the_command_prints() -> None:
    assert table(REPOSITORY / "docs/settings.md") == reference.markdown()


def test_the_chinese_page_has_the_same_rows_with_meanings_of_its_own() -> None:
    rows = list(translated())
    expected = [(row.key, row.default, row.after_change) for row in reference.rows()]
    assert [(row["key"], row["default"] or "", row["after"]) for row in rows] == expected
    assert all(re.search("[\u4e00-\u9fff]", row["meaning"]) for row in rows if row["key"] != "log.level")


def test_numbers_and_names_in_the_meanings_are_the_same_in_both() -> None:
    """What stands in backquotes, and large numbers, is not translated."""
    for row, ours in zip(translated(), reference.rows(), strict=True):
        for name in re.findall(r"`[a-zA-Z_.:/0-9]+`", ours.meaning):
            if "absolute" not in name:
                assert name in row["meaning"], (ours.key, name)


def test_every_setting_says_what_it_means_and_what_applies_a_change() -> None:
    for row in reference.rows():
        assert row.meaning and row.after_change in ("make restart", "make down && make up"), row.key
