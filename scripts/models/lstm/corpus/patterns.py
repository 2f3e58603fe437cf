"""Fill the patterns of `patterns.txt`: the short clauses in which a negation, a turn or irony decides.

A pattern is written once and serves both sides, so that no pattern says anything on its own: `S不B` gives `价格不贵`
for a good comment and `价格不便宜` for a bad one. What only one side says (irony, `谈不上`, `不够`) stands apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from models.lstm.corpus.parse import Aspect

# slot -> (words of a good comment, words of a bad one): A, N, V, L agree with the comment, B, M, W, K are the opposite
SLOTS = {
    "A": ("good_adjectives", "bad_adjectives"),
    "B": ("bad_adjectives", "good_adjectives"),
    "N": ("good_nouns", "bad_nouns"),
    "M": ("bad_nouns", "good_nouns"),
    "V": ("good_acts", "bad_acts"),
    "W": ("bad_acts", "good_acts"),
    "L": ("good_feelings", "bad_feelings"),
    "K": ("bad_feelings", "good_feelings"),
    "T": ("owners", "owners"),
    "C": ("things", "things"),
}
SIDES = ("pos", "neg")
OWN_SHARE = 0.3  # of patterns that belong to one side
NO_SUBJECT_SHARE = 0.3
ASPECT_SHARE = 0.5  # of adjectives that are the domain's own
QUOTES = ("“”", "‘’", '""', "「」")

_SLOT = re.compile("[A-Z]")


class Patterns:
    """Draws filled patterns from the shared word lists."""

    def __init__(self, words: Mapping[str, list[str]], rng: random.Random) -> None:
        self._words = words
        self._random = rng

    def draw(self, side: str, aspect: Aspect) -> str:
        """One clause of `side` ("pos" or "neg") about one of the aspect's subjects."""
        own = self._random.random() < OWN_SHARE
        pattern = self._random.choice(self._words[f"patterns_{side}" if own else "patterns"])
        quotes = self._random.choice(QUOTES)
        filled = _SLOT.sub(lambda slot: self._fill(slot[0], side, aspect), pattern)
        return filled.replace("“", quotes[0]).replace("”", quotes[1])

    def _fill(self, slot: str, side: str, aspect: Aspect) -> str:
        if slot == "S":
            empty = self._random.random() < NO_SUBJECT_SHARE
            return "" if empty else self._random.choice(aspect.subjects)
        section = SLOTS[slot][SIDES.index(side)]
        words = self._words[section]
        if slot in "AB" and self._random.random() < ASPECT_SHARE:
            own = aspect.good if section == "good_adjectives" else aspect.bad
            words = [word for word in own if not word.startswith("不")] or words  # it may follow a negation
        return self._random.choice(words)
