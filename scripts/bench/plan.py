"""What is measured, in which order, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

WARM_UP_SECONDS = 0.7
START_SECONDS = 6.0  # of a system, about
# An open loop opens a connection for a request that finds none idle; whoever has this many is a crowd.
OPEN_CONNECTIONS = 1000


@dataclass(frozen=True)
class Shape:
    """One load, whoever gets it. `share` is the open loop's rate as a share of the subject's saturation, 0: closed."""

    connections: int
    seconds: float
    keep_alive: bool = True
    share: float = 0.0
    rate: float = 0.0  # requests a second, once the saturation is known

    @property
    def name(self) -> str:
        if self.share:
            return f"{self.share:g}x"
        return f"{self.connections}" if self.keep_alive else f"{self.connections}c"

    @property
    def planned_seconds(self) -> float:
        return self.seconds + WARM_UP_SECONDS + (self.share > 1)

    def at(self, saturation: float) -> Shape:
        """The open loop's shape for a subject that saturates at so many requests a second."""
        return replace(self, rate=self.share * saturation)


@dataclass(frozen=True)
class Plan:
    """Names of systems, and the loads that each of them gets in each round."""

    systems: tuple[str, ...]
    rounds: int
    text: tuple[Shape, ...] = ()
    open_systems: tuple[str, ...] = ()
    open: tuple[Shape, ...] = ()
    open_rounds: int = 1
    image_systems: tuple[str, ...] = ()
    image: tuple[Shape, ...] = ()

    @property
    def seconds(self) -> float:
        """About how long all of it takes."""
        text = self.rounds * len(self.systems) * sum(shape.planned_seconds for shape in self.text)
        swept = self.open_rounds * len(self.open_systems) * sum(shape.planned_seconds for shape in self.open)
        image = self.rounds * (len(self.image_systems) + 1) * sum(shape.planned_seconds for shape in self.image)
        return text + swept + image + START_SECONDS * len(self.systems)

    def restricted(self, names: tuple[str, ...]) -> Plan:
        """With these systems only."""
        kept = {
            field: tuple(name for name in getattr(self, field) if name in names)
            for field in ("systems", "open_systems", "image_systems")
        }
        return replace(self, **kept)  # type: ignore[arg-type]


def closed(text: str, seconds: float) -> tuple[Shape, ...]:
    """From `1,32,32c`: connections; with a `c`, a new one for each request."""
    return tuple(Shape(int(each.removesuffix("c")), seconds, not each.endswith("c")) for each in _split(text))


def swept(text: str, seconds: float) -> tuple[Shape, ...]:
    """From `0.5,1.2`: shares of the saturation. Past it, only a longer time shows how the queue grows."""
    return tuple(
        Shape(OPEN_CONNECTIONS, seconds * (2 if share > 1 else 1), share=share) for share in map(float, _split(text))
    )


def _split(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


TEXT_SYSTEMS = ("wsgiapp", "rest", "grpc", "flask-gunicorn", "gevent", "uwsgi", "fastapi", "litserve", "empty")
MAIN_SYSTEMS = ("wsgiapp", "grpc", "flask-gunicorn", "fastapi", "litserve", "empty")
SWEPT_SYSTEMS = ("wsgiapp", "flask-gunicorn", "fastapi", "litserve")
IMAGE_SYSTEMS = ("wsgiapp", "flask-gunicorn", "fastapi")
FULL = Plan(
    systems=TEXT_SYSTEMS,
    rounds=3,
    text=closed("1,8,32,128,1c,32c", 3.0),
    open_systems=SWEPT_SYSTEMS,
    open=swept("0.2,0.4,0.6,0.8,0.9,1,1.2,1.5", 4.0),
    open_rounds=2,
    image_systems=IMAGE_SYSTEMS,
    image=closed("1,4", 4.0),
)
QUICK = Plan(
    systems=MAIN_SYSTEMS,
    rounds=2,
    text=closed("1,32", 2.0),
    open_systems=("wsgiapp", "fastapi", "litserve"),
    open=swept("0.5,0.9,1.5", 2.0),
    image_systems=IMAGE_SYSTEMS,
    image=closed("4", 2.0),
)
