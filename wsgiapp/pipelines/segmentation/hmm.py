"""Words that are in no dictionary: jieba's hidden Markov model, its package `finalseg`.

Each Chinese character begins a word (B), stands in the middle (M) or at the end (E) of one, or is one by itself (S).
The most probable sequence of these states (Viterbi's algorithm) tells where the words are. The logarithms are added in
jieba's order, so that sums round and ties fall as they do there.
"""

import re
import struct
from collections.abc import Callable

from wsgiapp.pipelines.segmentation.lexicon import FIRST_CHINESE, STATES, Lexicon

# The characters that the model knows, and, between them, what stays together ("3.5%", "iPhone"), as in `finalseg`.
CHINESE = re.compile("([\u4e00-\u9fd5]+)")
ASCII_WORD = re.compile(r"([a-zA-Z0-9]+(?:\.\d+)?%?)")

PIECE_CHARS = 2000  # between two pauses

B, M, E, S = range(len(STATES))
_row = struct.Struct(f"{len(STATES)}d")


def cut_unknown(text: str, lexicon: Lexicon, pause: Callable[[], object] = int) -> list[str]:
    """The words of `text`: those of the model, and what is not Chinese between them. For `pause` see `Tokenizer`."""
    words: list[str] = []
    for i, part in enumerate(CHINESE.split(text)):
        if not i % 2:
            words += filter(None, ASCII_WORD.split(part))
        elif lexicon.split:
            for word in _cut_chinese(part, lexicon, pause):
                words += word if word in lexicon.split else [word]
        else:
            words += _cut_chinese(part, lexicon, pause)
    return words


def _cut_chinese(text: str, lexicon: Lexicon, pause: Callable[[], object]) -> list[str]:
    (b, m, e, s), (eb, sb, bm, mm, be, me, es, ss) = lexicon.start, lexicon.transitions
    unpack, table = _row.unpack_from, lexicon.emissions
    emit_b, emit_m, emit_e, emit_s = unpack(table, _row.size * (ord(text[0]) - FIRST_CHINESE))
    b, m, e, s = b + emit_b, m + emit_m, e + emit_e, s + emit_s
    before = []  # for each other character: the likelier state before it, were it B, M, E or S
    for start in range(1, len(text), PIECE_CHARS):
        if start > 1:
            pause()
        for char in text[start : start + PIECE_CHARS]:
            emit_b, emit_m, emit_e, emit_s = unpack(table, _row.size * (ord(char) - FIRST_CHINESE))
            e_b, s_b = e + eb + emit_b, s + sb + emit_b
            b_m, m_m = b + bm + emit_m, m + mm + emit_m
            b_e, m_e = b + be + emit_e, m + me + emit_e
            e_s, s_s = e + es + emit_s, s + ss + emit_s
            # of two that are equal jieba takes the one whose letter comes later
            before.append((E if e_b > s_b else S, B if b_m > m_m else M, B if b_e > m_e else M, E if e_s > s_s else S))
            b = e_b if e_b > s_b else s_b
            m = b_m if b_m > m_m else m_m
            e = b_e if b_e > m_e else m_e
            s = e_s if e_s > s_s else s_s
    words = []
    state, end = E if e > s else S, len(text)
    for begin in range(end - 1, 0, -1):
        if state in (B, S):
            words.append(text[begin:end])
            end = begin
        state = before[begin - 1][state]
    words.append(text[:end])
    words.reverse()
    return words
