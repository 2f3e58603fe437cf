"""Keep TensorFlow's notes and files out of the way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what native code writes to stderr; it is shown only if the block fails.

    While it is loaded, TensorFlow 2.21 says that there is no GPU, TF_CPP_MIN_LOG_LEVEL or not.
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what TensorFlow, Keras and Matplotlib write besides; it goes with the block.

    To be entered before TensorFlow is imported: Keras writes its settings then, to the home folder otherwise; AutoGraph
    leaves compiled modules in the folder for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="wsgiapp-") as folder:
        os.environ["KERAS_HOME"] = os.environ["MPLCONFIGDIR"] = os.environ["TMPDIR"] = tempfile.tempdir = folder
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = None
            for name in ("KERAS_HOME", "MPLCONFIGDIR", "TMPDIR"):
                del os.environ[name]
