"""Which checkpoint of a folder is the newest, as TensorFlow notes it in the folder's file `checkpoint`.

That file is a `CheckpointState` in protobuf's text format; see `tf.train.get_checkpoint_state`. It is read without
TensorFlow, whose import takes seconds.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from google.protobuf import text_encoding

from checkpoints.meta_graph import CheckpointError, shortened

STATE = "checkpoint"
MAX_BYTES = 2**20
NAMED = re.compile(r"""^\s*model_checkpoint_path\s*:\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""", re.MULTILINE)


def prefix_of(option: str) -> str:
    """The prefix that `--checkpoint` means: itself, or the newest one in the folder that it names.

    A relative path in the folder's file begins at the folder. An absolute one that is not there any more, because the
    folder was moved or copied, is looked for in the folder by its name. Raises `CheckpointError`.
    """
    path = Path(option)
    if not path.is_dir() or Path(f"{path}.index").exists():
        return option
    named = _named_in(path, option)
    for prefix in (path / named, path / named.name):
        if _is_checkpoint(prefix):
            return str(prefix)
    where = "which is not there" if named.parent == Path() else "which is neither there nor, by its name, in the folder"
    raise CheckpointError(f"--checkpoint {option}: its file {STATE} names {named}, {where}{_others(path)}")


def _named_in(folder: Path, option: str) -> Path:
    """What the folder's file names."""
    try:
        with (folder / STATE).open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", "surrogateescape")
    except FileNotFoundError as exc:
        raise CheckpointError(
            f"--checkpoint {option}: no file {STATE} in it says which one is the newest{_others(folder)}"
        ) from exc
    except OSError as exc:
        raise CheckpointError(f"--checkpoint {option}: its file {STATE} cannot be read: {exc.strerror}") from exc
    found = NAMED.findall(text)
    name = os.fsdecode(text_encoding.CUnescape(found[-1][1:-1])) if found else ""
    if not name or "\0" in name:
        what = "names no model_checkpoint_path" if text.strip() else "is empty"
        raise CheckpointError(f"--checkpoint {option}: its file {STATE} {what}{_others(folder)}")
    return Path(name)


def _is_checkpoint(prefix: Path) -> bool:
    """Whether there are files of it: an index, or the one file, or the parts, of the older format."""
    try:
        return (
            Path(f"{prefix}.index").is_file()
            or prefix.is_file()
            or any(prefix.parent.glob(f"{glob.escape(prefix.name)}-?????-of-?????"))
        )
    except OSError:  # of a folder that is not for this user, such as another one's home
        return False


def _others(folder: Path) -> str:
    """What to do instead."""
    found = sorted(each.name.removesuffix(".index") for each in folder.glob("*.index"))
    if not found:
        return f"; there is no .index file of a checkpoint in {folder}"
    return f"; name one of the checkpoints there: {shortened([str(folder / each) for each in found])}"
