"""`wsgiapp capacity`: how many workers and machines a number of page views takes."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from wsgiapp.cli.parsing import add_command, own_settings
from wsgiapp.deployment.capacity import Demand, Measured, Need, plan, read_measured
from wsgiapp.settings.schema import REPOSITORY, Settings


def add_parser(commands: Any) -> None:
    """Add `capacity` to the parser of the `wsgiapp` command."""
    about = "say how many workers and machines a number of page views takes"
    add = add_command(commands, "capacity", _run, about, own_settings).add_argument
    add("--page-views", type=float, required=True, metavar="N", help="page views a day, such as 5000000")
    add("--requests-per-view", type=float, default=1.0, metavar="N", help="requests that a page view sends (1)")
    add("--peak", type=float, default=3.0, metavar="FACTOR", help="the busiest moments against the busy hours (3)")
    add("--headroom", type=float, default=0.3, metavar="SHARE", help="share of a machine to keep free (0.3)")
    add("--kind", choices=("text", "image"), default="text", help="what the requests send (text)")
    add("--rate", type=float, metavar="N", help="requests a second that a machine does, instead of a measurement")
    add("--workers", type=int, default=1, metavar="N", help="with --rate: workers on that machine (1)")
    add("--results", type=Path, metavar="FILE", help="of `make bench`; default: var/bench, else docs/bench")


def _run(settings: Settings, arguments: Namespace) -> int:
    demand = Demand(arguments.page_views, arguments.requests_per_view, arguments.peak)
    measured = _measured(settings, arguments)
    need = plan(demand, measured, arguments.headroom)
    print(_report(demand, measured, need, arguments.headroom))
    return 0


def _measured(settings: Settings, arguments: Namespace) -> Measured:
    if arguments.rate is not None:
        return Measured(arguments.rate, arguments.workers, "given by hand")
    if arguments.results is not None:
        return read_measured([arguments.results], arguments.kind)
    places = [settings.home / "bench/results.json", REPOSITORY / "docs/bench/results.json"]
    return read_measured(places, arguments.kind)


def _report(demand: Demand, measured: Measured, need: Need, headroom: float) -> str:
    lines = [
        f"page views a day   {demand.page_views:,.0f}, {demand.requests_per_view:g} requests each",
        f"busy hours         {demand.busy_rate:,.1f} requests a second (80% of the requests in 40% of the day)",
        f"peak               {demand.peak_rate:,.1f} requests a second ({demand.peak:g} times that)",
        f"one machine        {measured.rate:,.1f} requests a second with {_count(measured.workers, 'worker')}",
        f"                   {measured.source}",
        "",
        f"It takes           {_count(need.workers, 'worker')} on {_count(need.machines, 'machine')}, "
        f"with {headroom:.0%} kept free; at the peak they are used to {need.utilization:.0%}.",
        f"Advice             {_advice(need)}",
    ]
    return "\n".join(lines)


def _advice(need: Need) -> str:
    """N+1: what is left when a machine fails must carry the peak."""
    if need.utilization_one_down is None:
        return "run at least 2 machines: with one, its failure, or its update, is an outage."
    if need.survives_one_down:
        return f"if one machine fails, the others carry the peak, used to {need.utilization_one_down:.0%}."
    machines = 1 + math.ceil(need.utilization * need.machines)
    return f"run {machines} machines: if one of {need.machines} fails, the peak is more than the others can do."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
