"""Long values in pieces, between which the event loop turns."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

Pause = Callable[[], object]
Charge = Callable[[int], object]  # of bytes of memory; negative ones are given back

PIECE_VALUES = 32 * 1024  # of a list, where it is converted
RELEASED_ITEMS = 1024  # of a list, looked at together
STEP_VALUES = 16  # that are freed in the time of a step
CONTAINERS = frozenset({list, dict})


def no_pause() -> None:
    """For who has nobody to give way to."""


def free(size: int) -> None:
    """For who counts no memory."""


def pieces_of(values: list[Any], pause: Pause, size: int = 0) -> Iterator[list[Any]]:
    """A list in pieces of `size`, or `PIECE_VALUES`, with a pause before each but the first; a short one as it is."""
    size = size or PIECE_VALUES
    if len(values) <= size:
        yield values
        return
    for start in range(0, len(values), size):
        if start:
            pause()
        yield values[start : start + size]


def paused(values: list[Any], pause: Pause) -> Iterable[tuple[int, Any]]:
    """As `enumerate`, with pauses."""
    if len(values) <= PIECE_VALUES:
        return enumerate(values)
    return enumerate(value for piece in pieces_of(values, pause) for value in piece)


def release(value: Any, pause: Pause) -> None:
    """Empty a large document in pieces: it takes 15 ms to free a million numbers, else all at once."""
    work = 0
    open_values = [value]
    while open_values:
        if work >= PIECE_VALUES:
            work = 0
            pause()
        work += STEP_VALUES
        container = open_values[-1]
        if type(container) is dict:
            open_values[-1] = list(container.values())
            container.clear()
        elif type(container) is not list or not container:
            open_values.pop()
        else:
            tail = container[-RELEASED_ITEMS:]
            del container[-RELEASED_ITEMS:]
            work += len(tail)
            kinds = set(map(type, tail))
            if kinds & CONTAINERS:
                inner = tail if kinds == {list} else [each for each in tail if type(each) in CONTAINERS]
                size = sum(map(len, inner))
                work += size
                if size > PIECE_VALUES or not CONTAINERS.isdisjoint(map(type, _values_of(inner, kinds))):
                    open_values += inner


def _values_of(containers: list[Any], kinds: set[type]) -> Iterator[Any]:
    if dict in kinds:
        containers = [each.values() if type(each) is dict else each for each in containers]
    return chain.from_iterable(containers)
