"""The figures to reach, and whether this run reached them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.processes import GATEWAY

OURS = "wsgiapp"
MEBIBYTE = 2**20
Results = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """One figure: `value` must be at least, or at most, `limit`; `None` where this run did not measure it."""

    name: str
    name_zh: str
    value: float | None
    limit: float
    at_least: bool = False
    unit: str = ""
    digits: int = 1

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def goals(results: Results) -> list[Goal]:
    """All of them, in the order of the report."""
    return [*_against_peers(results), *_against_floors(results), *_under_load(results), *_of_a_worker(results)]


def cell(results: Results, kind: str, system: str, load: str) -> dict[str, Any] | None:
    """The medians of one system under one load; `None` where it was not measured."""
    for each in results["cells"]:
        if (each["kind"], each["system"], each["load"]) == (kind, system, load):
            found: dict[str, Any] = each
            return found
    return None


def ratio(above: float | None, below: float | None) -> float | None:
    """A quotient, where both are known."""
    return None if above is None or not below else above / below


def _against_peers(results: Results) -> Iterator[Goal]:
    text = _of(results, "text")
    for name, title, least in (
        ("flask-gunicorn", "Flask + gunicorn", 12),
        ("fastapi", "FastAPI", 4),
        ("litserve", "LitServe", 1.5),
    ):
        throughput = ratio(text(OURS, "32", "throughput"), text(name, "32", "throughput"))
        yield Goal(
            f"text, 32 connections: throughput against {title}",
            f"文本，32 个连接：吞吐量与 {title} 之比",
            throughput,
            least,
            True,
            "x",
        )
        tail = ratio(text(OURS, "32", "p99_ms"), text(name, "32", "p99_ms"))
        yield Goal(
            f"text, 32 connections: p99 against {title}",
            f"文本，32 个连接：p99 与 {title} 之比",
            tail,
            1,
            unit="x",
            digits=2,
        )


def _against_floors(results: Results) -> Iterator[Goal]:
    text = _of(results, "text")
    cpu = ratio(text(OURS, "32", "cpu_us", GATEWAY), text("empty", "32", "cpu_us", GATEWAY))
    yield Goal(
        "gateway CPU of a text, against an empty pywsgi application",
        "一条文本的网关 CPU，与空的 pywsgi 应用之比",
        cpu,
        2,
        unit="x",
    )
    ours, floor = text(OURS, "1", "p50_ms"), text("grpc", "1", "p50_ms")
    above = None if ours is None or floor is None else ours - floor
    yield Goal(
        "text, 1 connection: median above raw gRPC", "文本，1 个连接：中位延迟高出裸 gRPC", above, 1.5, unit=" ms"
    )
    bare = results.get("bare_image_us") or []
    used = [
        value
        for each in results["cells"]
        if (each["kind"], each["system"]) == ("image", OURS) and (value := each["cpu_us"].get(GATEWAY))
    ]
    picture = ratio(min(used, default=None), bare[len(bare) // 2] if bare else None)
    yield Goal(
        "gateway CPU of a photograph, against the bare OpenCV steps",
        "一张照片的网关 CPU，与裸的 OpenCV 步骤之比",
        picture,
        1.3,
        unit="x",
        digits=2,
    )


def _under_load(results: Results) -> Iterator[Goal]:
    text = _of(results, "text")
    kept = ratio(text(OURS, "128", "throughput"), text(OURS, "32", "throughput"))
    yield Goal(
        "text: throughput of 128 connections against 32",
        "文本：128 个连接与 32 个连接的吞吐量之比",
        _percent(kept),
        90,
        True,
        " %",
        0,
    )
    swept = [each for each in results["cells"] if each["system"] == OURS and each["load"].endswith("x")]
    past = [each["goodput"] for each in swept if float(each["load"][:-1]) > 1]
    # what it did in a closed loop counts, too: otherwise a sweep that collapses everywhere would have a low peak
    closed = text(OURS, "32", "goodput") or 0.0
    peak = max([closed, *(each["goodput"] for each in swept)])
    yield Goal(
        "text: goodput past saturation against its peak",
        "文本：过饱和时的有效吞吐量与峰值之比",
        _percent(ratio(min(past, default=None), peak)),
        90,
        True,
        " %",
        0,
    )
    shares = text(OURS, "32", "worker_shares") or []
    spread = ratio(max(shares), min(shares)) if len(shares) > 1 and min(shares) > 0 else None
    yield Goal(
        "text, 32 connections: busiest worker against the idlest",
        "文本，32 个连接：最忙与最闲的工作进程之比",
        spread,
        1.25,
        unit="x",
        digits=2,
    )


def _of_a_worker(results: Results) -> Iterator[Goal]:
    held = results["systems"].get(OURS, {}).get("memory", {}).get("workers")
    yield Goal(
        "memory of a worker (PSS)",
        "一个工作进程的内存（PSS）",
        held and held["max_pss"] / MEBIBYTE,
        110,
        unit=" MB",
        digits=0,
    )
    yield Goal("a worker is ready", "一个工作进程就绪", results.get("ready_seconds"), 1, unit=" s", digits=2)


def _of(results: Results, kind: str) -> Callable[..., Any]:
    def look(system: str, load: str, *keys: str) -> Any:
        found: Any = cell(results, kind, system, load)
        for key in keys:
            found = found and found.get(key)
        return found

    return look


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
