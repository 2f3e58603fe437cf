"""Version directories below a model's base path."""

from collections.abc import Mapping
from pathlib import Path

from wsgiapp.modelconfig import ModelConfig

INT64_MAX = 2**63 - 1

# What a directory looked like: each file's path, size and time of change.
Fingerprint = tuple[tuple[str, int, int], ...]


def find_versions(base_path: Path) -> dict[int, Path]:
    """The version directories: those whose names are whole numbers, leading zeros allowed.

    Raises `OSError` where the base path cannot be read.
    """
    return {
        int(entry.name): entry
        for entry in base_path.iterdir()
        if entry.name.isascii() and entry.name.isdecimal() and int(entry.name) <= INT64_MAX and entry.is_dir()
    }


def wanted_versions(model: ModelConfig, found: Mapping[int, Path]) -> set[int]:
    """Those of the found versions that the model's policy asks for."""
    if model.specific:
        return set(model.specific) & set(found)
    return set(sorted(found)[-model.latest :]) if model.latest else set(found)


def fingerprint(directory: Path) -> Fingerprint:
    """What a directory holds now; equal ones, some time apart, mean that nobody is copying into it."""
    entries = []
    for path in sorted(directory.rglob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:  # being replaced just now
            continue
        entries.append((str(path.relative_to(directory)), status.st_size, status.st_mtime_ns))
    return tuple(entries)
