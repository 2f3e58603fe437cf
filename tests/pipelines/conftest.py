"""jieba itself, and what is kept of it, which takes seconds to make."""

from pathlib import Path

import jieba
import pytest

from support.lexicon import lexicon_folder


@pytest.fixture(scope="session")
def lexicon_cache() -> Path:
    return lexicon_folder()


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> jieba.Tokenizer:
    made = jieba.Tokenizer()
    made.tmp_dir = str(tmp_path_factory.mktemp("jieba"))
    made.initialize()
    return made
