"""Placeholders are filled in once, and files are replaced as a whole."""

import os
import tempfile
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


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("old")
    for mode in (0o600, 0o644):
        path.chmod(mode)
        assert replace_file(path, f"new {mode}")
        assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root that could be led astray")
def test_root_writes_into_a_folder_as_its_owner_and_follows_no_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    with tempfile.TemporaryDirectory() as made:  # unlike pytest's, everybody can get there
        folder = Path(made)
        (folder / "models.config.new").symlink_to(secret)
        os.chown(folder, 65534, 65534)
        assert replace_file(folder / "models.config", "text")
        assert (folder / "models.config").stat().st_uid == 65534
        folder.chmod(0)
        assert replace_file(folder / "models.config", "root's, where the owner cannot")
    assert secret.read_text() == "root's"
    assert os.geteuid() == os.getegid() == 0
