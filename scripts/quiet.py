"""Keep back what native code writes while TensorFlow is imported."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


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
