"""Files that root makes belong to whom their folder belongs to."""

import os
from pathlib import Path

import pytest

from wsgiapp.observability.owned_files import open_owned


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_a_file_that_root_makes_is_its_folder_s(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 23456)
    os.close(open_owned(tmp_path / "file", os.O_RDWR, 0o600))
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 23456, 0o600)


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Whoever may write to the folder could have root write somewhere else by it."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        open_owned(tmp_path / "link", os.O_RDWR, 0o600)
    assert not (tmp_path / "elsewhere").exists()
