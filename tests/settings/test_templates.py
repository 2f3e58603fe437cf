"""Placeholders are filled in once, and files are replaced as a whole."""

from pathlib import Path

import pytest

from wsgiapp.errors import SettingsError
from wsgiapp.settings.templates import fill, fill_file, replace_file


def test_placeholders_are_filled_in_once() -> None:
    assert fill("@{a}/@{b} $a @a {a}", {"a": "@{b}", "b": "2"}, Path("x")) == "@{b}/2 $a @a {a}"


def test_an_unknown_placeholder_is_named_with_its_file() -> None:
    with pytest.raises(SettingsError, match=r"conf/x: unknown placeholder @\{c\}"):
        fill("@{c}", {"a": "1"}, Path("conf/x"))


def test_a_template_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere: No such file or directory"):
        fill_file(tmp_path / "nowhere", {})
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(SettingsError, match=r"latin: .*utf-8"):
        fill_file(tmp_path / "latin", {})


def test_a_file_is_replaced_only_where_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert [replace_file(path, text) for text in ("a", "a", "b")] == [True, False, True]
    assert path.read_text() == "b"
    assert list(tmp_path.iterdir()) == [path]
