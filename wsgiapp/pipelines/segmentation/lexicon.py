"""What jieba knows of words, as arrays in a file that all workers map into their memory.

jieba's own tables are Python dictionaries, which cost every process 75 MB and 0.7 s. So jieba loads them once, a user
dictionary included, in a process of its own (3 s), and what they hold is kept in a file of 8 MB; a worker opens it in
10 ms and has those of its pages in memory that its texts need (measured).
"""

import json
import logging
import math
import mmap
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from wsgiapp.errors import SettingsError

log = logging.getLogger(__name__)

FORMAT = 1  # to be raised with every change of what the file holds
STATES = "BMES"
TRANSITIONS = ("EB", "SB", "BM", "MM", "BE", "ME", "ES", "SS")
FIRST_CHINESE, LAST_CHINESE = 0x4E00, 0x9FD5
IMPOSSIBLE = -3.14e100  # jieba's logarithm of zero
NO_WORD = 1.0  # a logarithm of a probability is never positive

_HEADER = struct.Struct("3Q")  # nodes, bytes of their characters, bytes of the words that are split


class Lexicon:
    """A trie of words, and the probabilities of a hidden Markov model; all numbers are natural logarithms.

    Node 0 is the root. The children of `node` are `first[node]` to `first[node + 1] - 1`, sorted by `characters`, which
    is the character that leads to each node. `weights` has the probability of the word that ends at a node, or
    `NO_WORD`; `unknown` is that of a character with which no word starts. `start` has the probabilities of `STATES`,
    `transitions` those of `TRANSITIONS`, `emissions` those of `STATES` for each character from `FIRST_CHINESE` on, as
    the bytes of doubles. The model's words that are in `split` fall into their characters.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        nodes, characters, split = _HEADER.unpack_from(view)
        offset = _HEADER.size

        def take(size: int) -> memoryview:
            nonlocal offset
            offset += size
            return view[offset - size : offset]

        self.unknown, *parameters = take(8 * (1 + len(STATES) + len(TRANSITIONS))).cast("d")
        self.start, self.transitions = parameters[: len(STATES)], parameters[len(STATES) :]
        self.emissions = take(8 * len(STATES) * (LAST_CHINESE - FIRST_CHINESE + 1))
        self.weights = take(8 * nodes).cast("d")
        self.first = take(4 * (nodes + 1)).cast("I")
        self.characters = str(take(characters), "utf-8", "surrogatepass")
        self.split = frozenset(json.loads(bytes(take(split))))

    def has_word(self, text: str) -> bool:
        """Whether `text` is a word of a dictionary."""
        node = 0
        for character in text:
            node = self.characters.find(character, self.first[node], self.first[node + 1])
            if node < 0:
                return False
        return self.weights[node] != NO_WORD


def load_lexicon(cache: Path, user_dictionary: str | None = None) -> Lexicon:
    """What jieba knows with its own dictionary and, on top, `user_dictionary`; the file in `cache` is made if missing.

    Raises `SettingsError` for a user dictionary that cannot be read, or that jieba rejects.
    """
    try:
        added = Path(user_dictionary).read_bytes() if user_dictionary else b""
    except OSError as exc:
        raise SettingsError(f"options.user_dictionary: {exc}") from exc
    path = cache / f"jieba-{version('jieba')}-{zlib.crc32(added):08x}.lexicon{FORMAT}"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        log.info("making %s", path)
        output = _make(path, user_dictionary)
        if not path.exists():
            reason = output.strip().rpartition("\n")[2]
            raise SettingsError(f"jieba cannot load {user_dictionary or 'its dictionary'}: {reason}")
    return Lexicon(path)


def _make(path: Path, user_dictionary: str | None) -> str:
    """Have a process of its own write the file, because this one would keep most of the 250 MB that it takes; what it
    printed on its standard error.

    It is spawned and not forked, as `subprocess` would under gevent: a fork takes along the locks that other threads
    hold, and the event loop.
    """
    command = [sys.executable, "-W", "ignore::SyntaxWarning", "-m", __name__, str(path)]
    command += [user_dictionary] if user_dictionary else []
    with tempfile.TemporaryFile() as errors:
        redirect = (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)
        os.waitpid(os.posix_spawn(sys.executable, command, os.environ, file_actions=[redirect]), 0)
        errors.seek(0)
        return errors.read().decode(errors="replace")


def main(path: str, user_dictionary: str | None = None) -> None:
    """Write the file. Two processes may do so at a time: each writes one of its own, and the last one stays."""
    import jieba
    from jieba import finalseg

    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    if user_dictionary:
        tokenizer.load_userdict(user_dictionary)
    descriptor, scratch = tempfile.mkstemp(dir=Path(path).parent)
    try:
        with open(descriptor, "wb") as file:
            for part in _parts(tokenizer.FREQ, tokenizer.total, finalseg):
                file.write(part)
            file.flush()
            os.fsync(descriptor)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


def _parts(frequencies: Mapping[str, int], total: int, model: Any) -> list[bytes]:
    # jieba has every prefix of a word, too. By length, and then by themselves, the children of a node are neighbours,
    # and come in the order of their parents.
    words = sorted(frequencies, key=lambda word: (len(word), word))
    number = {word: i for i, word in enumerate(words, 1)}
    number[""] = 0
    parents = np.fromiter((number[word[:-1]] for word in words), np.int64, len(words))
    first = np.searchsorted(parents, np.arange(len(words) + 2)) + 1
    log_total = math.log(total)
    weights = [NO_WORD, *(math.log(frequencies[word]) - log_total if frequencies[word] else NO_WORD for word in words)]

    emissions = np.full((LAST_CHINESE - FIRST_CHINESE + 1, len(STATES)), IMPOSSIBLE)
    for column, state in enumerate(STATES):
        for character, logarithm in model.emit_P[state].items():
            if FIRST_CHINESE <= ord(character) <= LAST_CHINESE:
                emissions[ord(character) - FIRST_CHINESE, column] = logarithm
    parameters = [
        0.0 - log_total,
        *(model.start_P[state] for state in STATES),
        *(model.trans_P[pair[0]][pair[1]] for pair in TRANSITIONS),
    ]

    characters = ("\0" + "".join(word[-1] for word in words)).encode("utf-8", "surrogatepass")
    split = json.dumps(sorted(model.Force_Split_Words)).encode("ascii")
    return [
        _HEADER.pack(len(weights), len(characters), len(split)),
        np.array(parameters).tobytes(),
        emissions.tobytes(),
        np.array(weights).tobytes(),
        first.astype(np.uint32).tobytes(),
        characters,
        split,
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
