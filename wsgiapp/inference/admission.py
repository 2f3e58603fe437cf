"""`Admission`: which predictions a worker takes, and when each of them begins.

Each model has a lane, and another one for those of its requests that cost many times the usual: long texts, large
pictures. A lane has a concurrency limit of its own and a queue. So a model that is slow, or flooded, has its own
requests wait and those of no other model, and a flood of long texts none of the short ones.

All lanes share what a worker may hold. Whoever has less than its share of that is let in; more than its share a lane
has only while others leave theirs unused. What is held is never taken back: until what was borrowed has ended, a worker
may hold up to twice as many.
"""

from collections.abc import Iterable
from typing import NamedTuple

from wsgiapp.inference.concurrency_limit import ConcurrencyLimit
from wsgiapp.inference.lane import Lane, Room

#: Multiples of the usual cost from which on a request is one of those that cost much.
LARGE_COST = 16.0
# Those begin with few at a time, and never have more than a part of what the model has. With one a worker, half as many
# long texts were answered (measured, beside 200 short ones a second), and the short ones no sooner.
INITIAL_LARGE = 2
LARGE_SHARE = 0.25
#: In the place of a model's name: all that have no table of their own, and are called below `/v1/`.
OTHERS = ""


class Concurrency(NamedTuple):
    """A model's concurrency limit at the beginning, and at most; without a maximum what a worker may hold."""

    initial: int = 8
    maximum: int | None = None


class Share(NamedTuple):
    """A model's weight among the others."""

    model: str
    weight: float = 1.0
    concurrency: Concurrency = Concurrency()


class Admission:
    """The lanes of a worker."""

    def __init__(self, room: Room, shares: Iterable[Share]) -> None:
        """`shares` are those of the configured models; all other models together have one of the default weight."""
        self.room = room
        self._lanes: dict[str, Lane] = {}
        self._large: dict[str, Lane] = {}
        everyone = [Share(OTHERS), *shares]
        total = sum(each.weight for each in everyone)
        for model, weight, concurrency in everyone:
            share = max(1, int(room.max_held * weight / total))
            maximum = concurrency.maximum or room.max_held
            self._lanes[model] = Lane(room, model, ConcurrencyLimit(concurrency.initial, maximum), share)
            large = ConcurrencyLimit(INITIAL_LARGE, int(maximum * LARGE_SHARE))
            self._large[model] = Lane(room, model, large, max(1, int(share * LARGE_SHARE)))

    def lane(self, model: str, cost: float = 1.0) -> Lane:
        """Where a request of a cost belongs."""
        lanes = self._lanes if cost < LARGE_COST else self._large
        return lanes.get(model) or lanes[OTHERS]

    @property
    def lanes(self) -> Iterable[tuple[str, str, Lane]]:
        """Model, size and lane of each, for metrics."""
        for size, lanes in (("usual", self._lanes), ("large", self._large)):
            for model, lane in lanes.items():
                yield model, size, lane
