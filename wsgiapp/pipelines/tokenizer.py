"""jieba's tokenizer, loaded in half of jieba's own time."""

import logging
import marshal
import sys
from pathlib import Path

# jieba uses pkg_resources to open its dictionary where it can (measured: 0.3 s and 5 MB), otherwise open().
_absent = "pkg_resources" not in sys.modules
if _absent:
    sys.modules["pkg_resources"] = None  # type: ignore[assignment]
try:
    import jieba
finally:
    if _absent:
        del sys.modules["pkg_resources"]

jieba.setLogLevel(logging.WARNING)


def load_tokenizer(cache: Path, user_dictionary: str | None = None) -> jieba.Tokenizer:
    """A tokenizer with jieba's own dictionary and, on top, `user_dictionary` (a file in jieba's format).

    The parsed dictionary is kept in the folder `cache`; by default jieba keeps it in /tmp, where anyone could have put
    another one. jieba reads it in small pieces; at once, it takes half the time (measured: 0.7 s instead of 1.4 s).
    """
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(cache)
    tokenizer.cache_file = f"jieba-{jieba.__version__}.cache"
    try:
        parsed = marshal.loads((cache / tokenizer.cache_file).read_bytes())  # noqa: S302
        tokenizer.FREQ, tokenizer.total = parsed
        tokenizer.initialized = True
    except (OSError, ValueError, EOFError, TypeError):
        cache.mkdir(parents=True, exist_ok=True)
        tokenizer.initialize()
    if user_dictionary:
        tokenizer.load_userdict(user_dictionary)
    return tokenizer
