"""Chinese word segmentation as jieba does it, in a quarter of its time."""

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from wsgiapp.pipelines.segmentation.hmm import cut_unknown
from wsgiapp.pipelines.segmentation.lexicon import Lexicon, load_lexicon

Pause = Callable[[], object]

# What words are made of, and what parts the rest, as in jieba.
BLOCK = re.compile("([\u4e00-\u9fd5a-zA-Z0-9+#&._%-]+)")
LINE_END = re.compile("(\r\n)")

# The model's answers for runs of single characters are kept: every other run of those in 20,000 hotel, book and
# computer reviews was among the last 4096 different ones, which take 2 MB (measured). Long ones hardly come again.
CACHED_RUNS = 4096
MAX_CACHED_RUN = 8

NO_WAY = -math.inf
# Characters between two pauses: 1.4 ms.
PIECE_CHARS = 1000


class Tokenizer:
    """What `jieba.Tokenizer` answers, from a `Lexicon`."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        first, characters = lexicon.first, lexicon.characters
        self._roots = {characters[node]: node for node in range(first[0], first[1])}
        self._cut_short_run = lru_cache(CACHED_RUNS)(self._cut_run)

    def lcut(self, text: str, pause: Pause = int) -> list[str]:
        """The words of `text`; joined they are the text again. `pause` is called again and again in a long one."""
        words: list[str] = []
        is_long, done = len(text) > PIECE_CHARS, 0
        for i, part in enumerate(BLOCK.split(text)):
            if is_long:
                done += len(part)
                if done > PIECE_CHARS:
                    done = 0
                    pause()
            if i % 2:
                self._append_words(words, part, pause)
            elif part:
                for j, other in enumerate(LINE_END.split(part)):
                    words += [other] if j % 2 else other
        return words

    def _append_words(self, words: list[str], block: str, pause: Pause) -> None:
        """Append the dictionary's words, and those that the model makes of the single characters between them."""
        ends = self._route(block, pause)
        begin = run = 0
        while begin < len(block):
            end = ends[begin]
            if end - begin > 1:
                if run < begin:
                    self._append_run(words, block[run:begin], pause)
                words.append(block[begin:end])
                run = end
            begin = end
        if run < begin:
            self._append_run(words, block[run:], pause)

    def _route(self, block: str, pause: Pause) -> list[int]:
        """For each character of `block`: where the word that starts there ends, on the likeliest way to the end."""
        roots, lexicon = self._roots, self._lexicon
        find, first, weights = lexicon.characters.find, lexicon.first, lexicon.weights
        length = len(block)
        ends = [0] * length
        scores = [0.0] * (length + 1)
        for places in (range(length - 1, -1, -1),) if length <= PIECE_CHARS else _places(length, pause):
            for begin in places:
                best, best_end = NO_WAY, begin + 1
                node, end = roots.get(block[begin], -1), begin + 1
                while node > 0:
                    weight = weights[node]
                    if weight <= 0.0:  # not NO_WORD
                        score = weight + scores[end]
                        if score >= best:  # of two that are equal jieba takes the longer word
                            best, best_end = score, end
                    if end == length:
                        break
                    node = find(block[end], first[node], first[node + 1])
                    end += 1
                scores[begin] = best if best > NO_WAY else lexicon.unknown + scores[begin + 1]
                ends[begin] = best_end
        return ends

    def _append_run(self, words: list[str], run: str, pause: Pause) -> None:
        if len(run) == 1:
            words.append(run)
        elif len(run) <= MAX_CACHED_RUN:
            words += self._cut_short_run(run)
        else:
            words += self._cut_run(run, pause)

    def _cut_run(self, run: str, pause: Pause = int) -> tuple[str, ...]:
        if self._lexicon.has_word(run):  # and its characters are likelier
            return tuple(run)
        return tuple(cut_unknown(run, self._lexicon, pause))


def _places(length: int, pause: Pause) -> Iterator[range]:
    """Those of a long block from its end on, with pauses."""
    for top in range(length, 0, -PIECE_CHARS):
        if top < length:
            pause()
        yield range(top - 1, max(top - PIECE_CHARS, 0) - 1, -1)


def load_tokenizer(cache: Path, user_dictionary: str | None = None) -> Tokenizer:
    """A tokenizer with jieba's own dictionary and, on top, `user_dictionary`; see `load_lexicon`."""
    return Tokenizer(load_lexicon(cache, user_dictionary))
