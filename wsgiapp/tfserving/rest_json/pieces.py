"""Long values in pieces, between which the event loop turns."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

Pause = Callable[[], object]

PIECE_VALUES = 32 * 1024  # of a list, where it is converted
RELEASED_ITEMS = 1024  # of a list, looked at together
CONTAINERS = frozenset({list, dict})


def no_pause() -> None:
    """For who has nobody to give way to."""


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
    freed = 0
    open_values = [value]
    while open_values:
        if freed >= PIECE_VALUES:
            freed = 0
            pause()
        container = open_values[-1]
        if type(container) is dict:
            open_values[-1] = list(container.values())
            container.clear()
        elif type(container) is not list or not container:
            open_values.pop()
        elif size := _freed_together(tail := container[-RELEASED_ITEMS:]):
            del container[-len(tail) :]
            freed += size
        else:
            open_values.append(container.pop())
            freed += 1


def _freed_together(items: list[Any]) -> int:
    """How many values may be freed with some items of a list; 0 where they hold more than can be said at once."""
    kinds = set(map(type, items))
    if not kinds & CONTAINERS:
        return len(items)
    if kinds != {list} or sum(map(len, items)) > PIECE_VALUES:
        return 0
    values = list(chain.from_iterable(items))
    return 0 if CONTAINERS.intersection(map(type, values)) else len(items) + len(values)
