"""What is measured, in which order, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass

WARM_UP_SECONDS = 0.7


@dataclass(frozen=True)
class ClosedLoad:
    """`connections` that each send their next request when the answer has come."""

    connections: int
    keep_alive: bool = True

    @property
    def name(self) -> str:
        return f"{self.connections}" if self.keep_alive else f"{self.connections}c"


@dataclass(frozen=True)
class Plan:
    """The systems by name, and the loads that each of them gets in each round."""

    systems: tuple[str, ...]
    loads: tuple[ClosedLoad, ...]
    seconds: float
    rounds: int


def closed_loads(text: str) -> tuple[ClosedLoad, ...]:
    """From `1,32,32c`."""
    return tuple(ClosedLoad(int(each.removesuffix("c")), not each.endswith("c")) for each in text.split(",") if each)
