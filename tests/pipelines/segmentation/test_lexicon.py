"""The file of what jieba knows."""

import os
import subprocess
import sys
from pathlib import Path

import jieba
import pytest

from wsgiapp.errors import SettingsError
from wsgiapp.pipelines.segmentation.lexicon import load_lexicon


def test_it_has_the_words_of_the_dictionary_and_no_others(lexicon_cache: Path, plain: jieba.Tokenizer) -> None:
    lexicon = load_lexicon(lexicon_cache)
    for word, frequency in plain.FREQ.items():
        assert lexicon.has_word(word) is bool(frequency), word
    assert not lexicon.has_word("")
    assert not lexicon.has_word("中国𠮷")


def test_two_processes_make_it_at_the_same_time(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from wsgiapp.pipelines.segmentation.lexicon import load_lexicon;"
        "print(len(load_lexicon(pathlib.Path(sys.argv[1])).first))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    made = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate()[0] for process in made}
    assert len(printed) == 1 and int(printed.pop()) > 490_000
    [file] = (tmp_path / "cache").iterdir()
    before = file.stat()
    load_lexicon(tmp_path / "cache")
    assert os.path.samestat(before, file.stat())


def test_a_user_dictionary_that_changes_is_read_again(tmp_path: Path) -> None:
    dictionary = tmp_path / "own.txt"
    dictionary.write_text("很喜欢中国 10\n", encoding="utf-8")
    assert load_lexicon(tmp_path, str(dictionary)).has_word("很喜欢中国")
    dictionary.write_text("银行的产品\n", encoding="utf-8")
    lexicon = load_lexicon(tmp_path, str(dictionary))
    assert lexicon.has_word("银行的产品") and not lexicon.has_word("很喜欢中国")


def test_a_user_dictionary_that_is_missing_or_rejected(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"options\.user_dictionary.*missing\.txt"):
        load_lexicon(tmp_path, str(tmp_path / "missing.txt"))
    dictionary = tmp_path / "own.txt"
    dictionary.write_bytes("银行".encode("gb18030"))
    with pytest.raises(SettingsError, match=r"own\.txt.*must be utf-8"):
        load_lexicon(tmp_path, str(dictionary))
    assert list(tmp_path.iterdir()) == [dictionary]
