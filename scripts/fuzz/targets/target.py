"""`Target`: a parser, what may come of it, and inputs to begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# What the parsers get at most: their own limits are above that, and time is best spent on many short inputs.
MAX_BYTES = 4096


@dataclass(frozen=True)
class Target:
    """`run` takes bytes, and raises where the parser raised what its callers do not expect, or returned nonsense."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


class WrongResult(AssertionError):
    """Raised where a parser accepted an input, and what it made of that cannot be right."""
