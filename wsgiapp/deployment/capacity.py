"""How many workers and machines a number of page views takes: arithmetic alone."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsgiapp.errors import CapacityError

# The 80/40 rule: 80% of a day's requests come in 40% of the day. Busy moments are two to three times that.
SHARE_OF_REQUESTS = 0.8
SHARE_OF_DAY = 0.4
DAY_SECONDS = 86_400
OURS = "wsgiapp"


@dataclass(frozen=True)
class Demand:
    """What comes in. Raises `CapacityError` for figures that make no sense.

    `page_views` a day; `requests_per_view` that each of them sends; `peak` times the busy hours' rate in the busiest
    moments.
    """

    page_views: float
    requests_per_view: float = 1.0
    peak: float = 3.0

    def __post_init__(self) -> None:
        _require("page views", self.page_views, above=0)
        _require("requests per view", self.requests_per_view, above=0)
        if not (math.isfinite(self.peak) and self.peak >= 1):
            raise CapacityError(f"peak = {self.peak:g}: not a factor of 1 or more")

    @property
    def busy_rate(self) -> float:
        """Requests a second in the busy 40% of the day."""
        return self.page_views * self.requests_per_view * SHARE_OF_REQUESTS / (DAY_SECONDS * SHARE_OF_DAY)

    @property
    def peak_rate(self) -> float:
        """Requests a second in the busiest moments."""
        return self.busy_rate * self.peak


@dataclass(frozen=True)
class Measured:
    """What one machine does: right answers a second at saturation, by so many workers; `source` says who says so."""

    rate: float
    workers: int
    source: str

    def __post_init__(self) -> None:
        _require("rate", self.rate, above=0)
        _require("workers", self.workers, above=0)


@dataclass(frozen=True)
class Need:
    """What the demand takes, at the most that a machine is to be used."""

    workers: int
    machines: int
    utilization: float  # of the machines' measured rate, at the peak, 0..1
    utilization_one_down: float | None  # the same with one machine fewer; `None` with a single one

    @property
    def survives_one_down(self) -> bool:
        """Whether the peak is still within what was measured when one machine fails."""
        return self.utilization_one_down is not None and self.utilization_one_down <= 1


def plan(demand: Demand, measured: Measured, headroom: float = 0.3) -> Need:
    """The least number of machines that the peak uses to 1 - `headroom` at most, and the workers on them.

    Near saturation latency grows without bounds, and no two machines are alike: hence the headroom. Raises
    `CapacityError` when it is not in 0..1.
    """
    if not 0 <= headroom < 1:
        raise CapacityError(f"headroom = {headroom:g}: not a share of 0 to less than 1, such as 0.3")
    usable = 1 - headroom
    peak = demand.peak_rate
    machines = math.ceil(peak / (measured.rate * usable))
    workers = math.ceil(peak * measured.workers / (measured.rate * usable))
    one_down = peak / (measured.rate * (machines - 1)) if machines > 1 else None
    return Need(workers, machines, peak / (measured.rate * machines), one_down)


def read_measured(paths: Iterable[Path], kind: str = "text") -> Measured:
    """The most that the benchmark measured in a closed loop, from the first of `paths` that exists.

    `kind` is `text` or `image`. Raises `CapacityError` where there is no file, or none with such a measurement.
    """
    tried = list(paths)
    for path in tried:
        if path.exists():
            return _best(_parse(path), path, kind)
    places = " or ".join(map(str, tried))
    raise CapacityError(f"no measurement in {places}: run `make bench`, or give --rate REQUESTS_A_SECOND")


def _best(results: Mapping[str, Any], path: Path, kind: str) -> Measured:
    cells = [
        cell
        for cell in results["cells"]
        if (cell["system"], cell["kind"]) == (OURS, kind) and cell["load"].isdecimal() and cell["throughput"]
    ]
    if not cells:
        raise CapacityError(f"{path}: has no closed loop of kind {kind!r}; run `make bench`, or give --rate")
    best = max(cells, key=lambda cell: cell["throughput"])
    machine = results["machine"]
    source = (
        f"{path}, measured {machine['when']} on {machine['cores']} cores ({machine['cpu']}), load generator included"
    )
    return Measured(best["throughput"], max(1, len(best["worker_shares"])), source)


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        for cell in results["cells"]:
            for key in ("system", "kind", "load", "throughput", "worker_shares"):
                cell[key]
        for key in ("when", "cores", "cpu"):
            results["machine"][key]
    except OSError as exc:
        raise CapacityError(f"{path}: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise CapacityError(f"{path}: not the results of `make bench`") from exc
    parsed: Mapping[str, Any] = results
    return parsed


def _require(name: str, value: float, *, above: float) -> None:
    if not (math.isfinite(value) and value > above):
        raise CapacityError(f"{name} = {value:g}: not a number above {above:g}")
