"""Version directories, and which of them a policy asks for."""

import os
import time
from pathlib import Path

import pytest

from wsgiapp.tfserving.model_config import ModelConfig
from wsgiapp.tfserving.version_dirs import find_versions, fingerprint, has_model, version_number, wanted_versions


@pytest.mark.parametrize(
    ("digits", "number"),
    [
        ("0", 0),
        ("007", 7),
        ("0" * 5000 + "7", 7),
        ("0" * 5000, 0),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("9" * 5000, None),
        ("", None),
        ("+1", None),
        ("1_0", None),
        ("²", None),
        ("٣", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_version_numbers(digits: str, number: int | None) -> None:
    """Python's `int` raises for more than 4,300 digits."""
    assert version_number(digits) == number


def test_versions_are_directories_with_numbers_for_names(tmp_path: Path) -> None:
    for name in ("01", "1", "007", "00000123", "abc", "-4", "9" * 30, "1.5", "²"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").write_text("a file")
    assert find_versions(tmp_path) == {
        1: tmp_path / "1",
        7: tmp_path / "007",
        123: tmp_path / "00000123",
    }
    with pytest.raises(OSError, match="nowhere"):
        find_versions(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ({}, {9}),
        ({"latest": 2}, {3, 9}),
        ({"latest": 10}, {1, 3, 9}),
        ({"latest": 0}, {1, 3, 9}),
        ({"latest": 0, "specific": frozenset({3, 4})}, {3}),
    ],
)
def test_policies(policy: dict[str, object], wanted: set[int]) -> None:
    model = ModelConfig("m", Path("/m"), **policy)  # type: ignore[arg-type]
    assert wanted_versions(model, {number: Path(str(number)) for number in (1, 9, 3)}) == wanted
    assert wanted_versions(model, {}) == set()


def test_a_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    seen = {fingerprint(tmp_path)}
    (tmp_path / "saved_model.pb").write_bytes(b"a")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"ab")
    seen.add(fingerprint(tmp_path))
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(b"")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 4
    assert fingerprint(tmp_path) in seen


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "saved_model.pb"
    file.write_bytes(b"a")
    times = (1_000_000_000, 1_000_000_000)
    os.utime(file, ns=times)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    time.sleep(0.02)  # longer than a file system's clock ticks
    file.unlink()
    file.write_bytes(b"b")
    os.utime(file, ns=times)
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt", "saved_model.cpb", "model.tflite"])
def test_what_makes_a_directory_a_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "variables").mkdir()
    assert not has_model(tmp_path)
    (tmp_path / name).write_bytes(b"")
    assert has_model(tmp_path)


def test_a_directory_that_is_gone_looks_empty(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nowhere") == ()
