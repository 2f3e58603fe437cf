"""What the service keeps of jieba, made once for all tests."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from wsgiapp.pipelines.segmentation.lexicon import load_lexicon


@functools.cache
def lexicon_folder() -> Path:
    """A cache folder with what the service keeps of jieba; it takes seconds to make, so all tests share it."""
    folder = Path(tempfile.mkdtemp(prefix="wsgiapp-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    load_lexicon(folder)
    return folder


def give_lexicon(home: Path) -> None:
    """Put it into the cache of a home folder."""
    shutil.copytree(lexicon_folder(), home / "cache", dirs_exist_ok=True)
