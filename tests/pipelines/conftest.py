"""jieba itself, and what is kept of it, which takes seconds to make."""

from pathlib import Path

import jieba
import pytest


@pytest.fixture(scope="session")
def lexicon_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> jieba.Tokenizer:
    made = jieba.Tokenizer()
    made.tmp_dir = str(tmp_path_factory.mktemp("jieba"))
    made.initialize()
    return made
