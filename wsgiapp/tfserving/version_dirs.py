"""Version directories below a model's base path."""

import os
from collections.abc import Mapping
from pathlib import Path

from wsgiapp.tfserving.messages import INT64_MAX
from wsgiapp.tfserving.model_config import ModelConfig

# The file that makes a directory a SavedModel, for the loader in C++ that TF Serving uses
# (tensorflow/cc/saved_model/constants.h). The third one is in chunks, for graphs above protobuf's 2 GB. TensorFlow's
# loader in Python, which the built-in model server uses, reads the first two: it reports the third one as an error of
# the version, which a client sees in the version's status, instead of a file that is still awaited.
BINARY_FILE, TEXT_FILE, CHUNKED_FILE = "saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"
SAVED_MODEL_FILES = (BINARY_FILE, TEXT_FILE, CHUNKED_FILE)
# `--prefer_tflite_model` takes this one instead (servables/tensorflow/saved_model_bundle_factory.cc of TF Serving).
TFLITE_FILE = "model.tflite"
MODEL_FILES = (*SAVED_MODEL_FILES, TFLITE_FILE)

# What a directory looked like: each entry's path, size, and times of change of its content and of its metadata. The
# last one is what no copy can set, so that a file that was replaced is noticed whatever else it keeps.
Fingerprint = tuple[tuple[str, int, int, int], ...]


def version_number(digits: str) -> int | None:
    """A version by its digits, leading zeros allowed; `None` for what is none, or beyond 64 bits."""
    if not (digits.isascii() and digits.isdecimal()) or len(digits.lstrip("0")) > len(str(INT64_MAX)):
        return None
    number = int(digits.lstrip("0") or "0")
    return number if number <= INT64_MAX else None


def find_versions(base_path: Path) -> dict[int, Path]:
    """The version directories: those whose names are whole numbers, leading zeros allowed.

    Of several names for one number the last one counts, in the order of the alphabet, as in TF Serving. Raises
    `OSError` where the base path cannot be read.
    """
    return {
        int(entry.name): entry
        for entry in sorted(base_path.iterdir())
        if version_number(entry.name) is not None and entry.is_dir()
    }


def wanted_versions(model: ModelConfig, found: Mapping[int, Path]) -> set[int]:
    """Those of the found versions that the model's policy asks for."""
    if model.specific:
        return set(model.specific) & set(found)
    return set(sorted(found)[-model.latest :]) if model.latest else set(found)


def has_model(directory: Path) -> bool:
    """Whether a version directory has a file that makes it a model; one that is being copied may not have it yet."""
    return any(os.path.exists(directory / name) for name in MODEL_FILES)


def fingerprint(directory: Path) -> Fingerprint:
    """What is in a directory now; equal fingerprints, some time apart, mean that nothing is being copied into it."""
    entries = []
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:  # being replaced just now
                continue
            entry = (os.path.relpath(path, directory), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            entries.append(entry)
    return tuple(sorted(entries))
