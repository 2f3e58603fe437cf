"""Compose comments from clauses: whole ones (pure, mixed with turns, conclusions, plain facts) and short ones.

The label comes from the plan, never from counting words: the plan decides which side wins (more clauses, the side
after "but", the conclusion) and then draws clauses to fit.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator

from models.lstm.corpus.parse import Aspect, ClauseFile, alternatives
from models.lstm.corpus.patterns import Patterns

LABELS = ("NEG", "POS", "NEU")
OPPOSITE = {"pos": "neg", "neg": "pos"}
Tokens = list[str]

# shares of all comments; NEU is rare because an opinion is what people write comments for
POLARITY_SHARES = {"pos": 0.45, "neg": 0.45, "neu": 0.10}
HOTEL_SHARE = 0.85
PATTERN_SHARE = 0.75  # of short comments; the others are clauses as the whole comments have them
NOISE_SHARE = 0.1  # of clauses
MARKS = ("，", ",", "。", "！", "；", ".", "", "!", "...", "、", "~", "？")
MARK_WEIGHTS = (46, 18, 12, 6, 2, 3, 6, 3, 2, 1, 1, 0.3)


class Composer:
    """Draws labelled comments; the same seed draws the same comments."""

    def __init__(
        self, domains: list[ClauseFile], shared: ClauseFile, tokenize: Callable[[str], Tokens], seed: int
    ) -> None:
        self._random = random.Random(seed)
        self._tokenize = tokenize
        self._cache: dict[str, Tokens] = {}
        self._plain = shared.words["plain_words"]
        self._domains = domains
        self._shared = shared
        self._patterns = Patterns(shared.words, self._random)
        self._weights = [
            HOTEL_SHARE if domain.name == "hotel" else (1.0 - HOTEL_SHARE) / len(domains) for domain in domains
        ]
        self._lines = {
            (source.name, polarity): [alternatives(line) for line in source.clauses[polarity]]
            for source in [*domains, shared]
            for polarity in source.clauses
        }
        # a line of many alternatives carries more words, so it is drawn more often, but not in proportion
        self._line_weights = {key: _cumulative(map(_line_weight, lines)) for key, lines in self._lines.items()}

    def comments(self, count: int) -> Iterator[tuple[Tokens, str]]:
        """`count` pairs of (words, label)."""
        polarities = self._random.choices(list(POLARITY_SHARES), list(POLARITY_SHARES.values()), k=count)
        for polarity in polarities:
            domain = self._random.choices(self._domains, self._weights)[0]
            plan = self._facts(domain) if polarity == "neu" else self._opinion(domain, polarity)
            yield self._join(plan), polarity.upper()

    def short_comments(self, count: int) -> Iterator[tuple[Tokens, str]]:
        """`count` pairs of (words, label) of one clause, at times two; every domain has an equal share."""
        polarities = self._random.choices(list(POLARITY_SHARES), list(POLARITY_SHARES.values()), k=count)
        for polarity in polarities:
            domain = self._random.choice(self._domains)
            plan = [self._short(domain, polarity)]
            if polarity != "neu" and self._chance(0.12):
                plan.insert(0, self._short(domain, self._random.choice(("neu", polarity))))
            yield self._join(plan), polarity.upper()

    # --- plans: lists of clauses ---

    def _facts(self, domain: ClauseFile) -> list[Tokens]:
        return [self._clause(domain, "neu") for _ in range(self._random.choice((1, 1, 2, 2, 3, 4)))]

    def _opinion(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        kind = self._random.random()
        if kind < 0.45:
            plan = self._pure(domain, polarity)
        elif kind < 0.72:
            plan = self._majority(domain, polarity)
        elif kind < 0.80:
            plan = self._softened(domain, polarity)
        elif kind < 0.88:
            plan = self._conceded(domain, polarity)
        elif kind < 0.92:
            plan = self._excepted(domain, polarity)
        else:
            return self._concluded(domain, polarity)
        if len(plan) > 2 and self._chance(0.3):
            plan.append(self._verdict(polarity))
        return plan

    def _pure(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        plan = []
        for _ in range(self._random.choice((1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 9))):
            if self._chance(0.2):
                plan.append(self._clause(domain, "neu"))
            plan.append(self._led(polarity) + self._clause(domain, polarity))
        return plan

    def _majority(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        winners = self._random.choice((2, 3, 3, 4, 5, 6, 8, 10))
        losers = self._random.randint(1, max(1, int(winners * 0.6)))
        sides = [polarity] * winners + [OPPOSITE[polarity]] * losers
        if self._chance(0.5):
            self._random.shuffle(sides)
        elif self._chance(0.6):
            sides.reverse()
        plan = []
        for index, side in enumerate(sides):
            if self._chance(0.15):
                plan.append(self._clause(domain, "neu"))
            turned = index and side != sides[index - 1]
            head = self._word("turn") if turned and self._chance(0.6) else self._led(side)
            plan.append(head + self._clause(domain, side))
        return plan

    def _softened(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        plan = [self._clause(domain, polarity) for _ in range(self._random.choice((1, 2, 3, 4, 5)))]
        return [*plan, self._word("soft") + self._clause(domain, OPPOSITE[polarity])]

    def _conceded(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        plan = self._pure(domain, polarity) if self._chance(0.4) else []
        plan.append(self._word("concede") + self._clause(domain, OPPOSITE[polarity]))
        return [*plan, self._word("turn") + self._clause(domain, polarity)]

    def _excepted(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        plan = [self._clause(domain, polarity) for _ in range(self._random.choice((0, 1, 2)))]
        plan.append(self._word("except") + self._clause(domain, OPPOSITE[polarity]))
        return [*plan, self._word(f"rest_{polarity}")]

    def _concluded(self, domain: ClauseFile, polarity: str) -> list[Tokens]:
        count = self._random.choice((1, 1, 2, 3, 4))
        sides = [polarity, OPPOSITE[polarity]] * count
        self._random.shuffle(sides)
        return [*(self._led(side) + self._clause(domain, side) for side in sides), self._verdict(polarity)]

    # --- clauses: lists of words ---

    def _clause(self, domain: ClauseFile, polarity: str) -> Tokens:
        kind = self._random.random()
        if polarity == "neu":
            return self._written(domain if kind < 0.75 else self._shared, polarity)
        if kind < 0.52:
            return self._written(domain, polarity)
        if kind < 0.82 and domain.aspects:
            return self._judged(self._random.choice(domain.aspects), polarity)
        if kind < 0.92:
            return self._written(self._shared, polarity)
        return self._exclaimed(polarity)

    def _short(self, domain: ClauseFile, polarity: str) -> Tokens:
        if polarity == "neu" or not domain.aspects or not self._chance(PATTERN_SHARE):
            return self._clause(domain, polarity)
        return self._split(self._patterns.draw(polarity, self._random.choice(domain.aspects)))

    def _written(self, source: ClauseFile, polarity: str) -> Tokens:
        key = (source.name, polarity)
        line = self._random.choices(self._lines[key], cum_weights=self._line_weights[key])[0]
        return self._split("".join(map(self._random.choice, line)))

    def _judged(self, aspect: Aspect, polarity: str) -> Tokens:
        """Subject, then a phrase, or a degree word or a negation or a comparison and a word that fits it."""
        subject = self._random.choice(aspect.subjects) if self._chance(0.9) else ""
        same, other = (aspect.good, aspect.bad) if polarity == "pos" else (aspect.bad, aspect.good)
        phrases = aspect.good_phrases if polarity == "pos" else aspect.bad_phrases
        kind = self._random.random()
        if kind < 0.2 and phrases:
            return self._split(subject + self._random.choice(phrases))
        if kind < 0.42:
            return self._split(subject + self._pick(f"not_{OPPOSITE[polarity]}") + self._random.choice(other))
        if kind < 0.48:
            good = same if polarity == "pos" else other
            return self._split(subject + self._pick(f"comparison_{polarity}") + self._random.choice(good))
        degree = self._pick("degree") if self._chance(0.75) else ""
        if polarity == "neg" and self._chance(0.3):
            degree = self._pick("weak")
        tail = (
            "了"
            if degree in ("太", "实在太")
            else self._random.choice(("", "", "", "的", "，" + self._random.choice(same)))
        )
        return self._split(subject + degree + self._random.choice(same) + tail)

    def _exclaimed(self, polarity: str) -> Tokens:
        words = self._random.choices(self._shared.words[f"{polarity}_words"], k=self._random.choice((1, 1, 1, 2, 3)))
        if len(words) > 1:
            return self._split(self._random.choice(("、", " ", "，")).join(words))
        return self._split(self._random.choice(("", "", "很", "太", "感觉", "真是", "非常", "让人", "都")) + words[0])

    def _verdict(self, polarity: str) -> Tokens:
        head = self._word("summary") if self._chance(0.6) else []
        return head + self._word(f"verdict_{polarity}")

    def _led(self, polarity: str) -> Tokens:
        if self._chance(0.8):
            return []
        return self._word("lead" if self._chance(0.5) else f"lead_{polarity}")

    # --- words ---

    def _join(self, plan: list[Tokens]) -> Tokens:
        words: Tokens = []
        for clause in plan:
            words += self._padded(clause) if self._chance(NOISE_SHARE) else clause
            words += [mark for mark in self._random.choices(MARKS, MARK_WEIGHTS) if mark]
        if self._chance(0.4) and words[-1] in MARKS:
            words.pop()
        return words or ["。"]

    def _padded(self, clause: Tokens) -> Tokens:
        """The clause with a few words in it that judge nothing, as real comments are full of."""
        at = self._random.randrange(len(clause) + 1)
        plain = self._random.choices(self._plain, k=self._random.choice((1, 1, 2, 3)))
        return [*clause[:at], *plain, *clause[at:]]

    def _split(self, text: str) -> Tokens:
        if text not in self._cache:
            self._cache[text] = self._tokenize(text)
        return self._cache[text]

    def _word(self, section: str) -> Tokens:
        return self._split(self._pick(section))

    def _pick(self, section: str) -> str:
        return self._random.choice(self._shared.words[section])

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


def _line_weight(places: list[list[str]]) -> float:
    return min(math.prod(map(len, places)), 60) ** 0.6


def _cumulative(weights: Iterable[float]) -> list[float]:
    total, sums = 0.0, []
    for weight in weights:
        total += weight
        sums.append(total)
    return sums
