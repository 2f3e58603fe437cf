"""One run: each fault in turn, and the stack whole again before the next."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.loadprocess import LoadProcess
from bench.processes import everything_ended
from bench.progress import Progress
from bench.subjects import all_cases
from bench.systems import wait_until_right
from chaos.faults import CLOCK_FAULTS, CLOCK_FILE, DISK_FAULTS, FAULTS, Fault, set_clock
from chaos.observation import Observation, Observer
from chaos.target import Target

# The logs of a whole run, models and temporary files fit, with room for what is written while it is full.
DISK_MEGABYTES = 256
START_SECONDS = 15.0


class NotRun(Exception):
    """Why a fault cannot be made here."""


@dataclass(frozen=True)
class Result:
    """A fault and what came of it: an observation, or the reason why there is none."""

    fault: Fault
    seen: Observation | None
    not_run: str = ""

    @property
    def is_kept(self) -> bool | None:
        """Whether the promise was kept; `None` where there is none, or it was not tried."""
        if self.seen is None or self.fault.limit is None:
            return None
        return self.seen.errors.total() <= self.fault.limit


class Session:
    """Everything that is started is ended when `run` returns or raises, Ctrl-C included."""

    def __init__(self, home: Path, models: Path, rate: float, chosen: Sequence[str]) -> None:
        """`rate`: texts a second. `chosen`: parts of names; none: all faults."""
        self._home, self._models, self._rate = home, models, rate
        self._chosen = chosen
        self._progress = Progress(sum(self._seconds(faults) for faults in (FAULTS, DISK_FAULTS, CLOCK_FAULTS)))

    def run(self) -> list[Result]:
        """A result for each fault. Raises `Failure` where the stack does not start, or does not come back."""
        results = self._faults(FAULTS, self._home / "stack")
        results += self._where_possible(DISK_FAULTS, self._on_small_disk)
        results += self._where_possible(CLOCK_FAULTS, self._with_own_clock)
        self._progress.clear()
        return results

    def _where_possible(self, faults: Sequence[Fault], make: Callable[[], list[Result]]) -> list[Result]:
        wanted = self._wanted(faults)
        try:
            return make() if wanted else []
        except NotRun as exc:
            return [Result(fault, None, str(exc)) for fault in wanted]

    def _on_small_disk(self) -> list[Result]:
        with _small_disk(self._home / "disk") as disk:
            return self._faults(DISK_FAULTS, disk / "stack")

    def _with_own_clock(self) -> list[Result]:
        home = self._home / "clock"
        home.mkdir(parents=True, exist_ok=True)
        return self._faults(CLOCK_FAULTS, home, _own_clock(home))

    def _faults(self, faults: Sequence[Fault], home: Path, variables: Mapping[str, str] | None = None) -> list[Result]:
        wanted = self._wanted(faults)
        if not wanted:
            return []
        self._progress.show("starting wsgiapp")
        results = []
        with running_target(home, self._models, self._rate, variables) as (target, observer):
            self._progress.spend(START_SECONDS)
            for fault in wanted:
                self._progress.show(fault.name)
                results.append(make_fault(fault, target, observer))
                self._progress.spend(fault.seconds)
        return results

    def _wanted(self, faults: Sequence[Fault]) -> list[Fault]:
        return [fault for fault in faults if not self._chosen or any(part in fault.name for part in self._chosen)]

    def _seconds(self, faults: Sequence[Fault]) -> float:
        wanted = self._wanted(faults)
        return sum(fault.seconds for fault in wanted) + START_SECONDS * bool(wanted)


@contextmanager
def running_target(
    home: Path, models: Path, rate: float, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[Target, Observer]]:
    """A stack that runs, and who sends it so many texts a second. Raises `Failure` where it does not start."""
    target = Target(home, models, variables)
    home.mkdir(parents=True, exist_ok=True)
    with everything_ended() as running:
        running.callback(target.stop)
        target.start()
        cases = {"text": all_cases(target, [])["text"]}
        wait_until_right(target, cases["text"][0])
        generators = [running.enter_context(LoadProcess(cases)) for _ in range(2)]
        yield target, Observer(generators, target.host, target.port, rate)


def make_fault(fault: Fault, target: Target, observer: Observer) -> Result:
    """Make it, and wait until the stack is whole again. Raises `Failure` where it does not come back."""
    try:
        seen = observer.observe(lambda: fault.act(target), fault.seconds)
    finally:
        if fault.undo:
            fault.undo(target)
    target.recover()
    return Result(fault, seen)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A small file system in memory. Raises `NotRun` for whoever may not mount one."""
    if os.geteuid() != 0:
        raise NotRun("only root may mount a small disk")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as mounted:
        _mount("mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder))
        mounted.callback(_mount, "umount", str(folder))
        yield folder


def _mount(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotRun(f"a small disk cannot be mounted: {done.stderr.strip()}")


def _own_clock(home: Path) -> dict[str, str]:
    """The variables that give processes a wall clock of their own. Raises `NotRun` where it cannot be compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise NotRun("no C compiler")
    library = home / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True)
    set_clock(home, 0)
    return {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(home / CLOCK_FILE)}
