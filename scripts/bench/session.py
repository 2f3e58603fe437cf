"""One run: start everything, measure in rounds across the systems, stop everything."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.cases import Case, ConstantCase, TextCase
from bench.loadprocess import LoadProcess
from bench.outcome import Load
from bench.peers.empty_pywsgi import ANSWER
from bench.plan import WARM_UP_SECONDS, ClosedLoad, Plan
from bench.processes import Failure
from bench.progress import Progress
from bench.results import machine, memory_by_group, middle, sample
from bench.systems import RECIPES, Peer, Stack, System, wait_until_right
from bench.workload import ModelServer, sentences


class Session:
    """Everything that is started is ended when `run` returns or raises, Ctrl-C included."""

    def __init__(self, plan: Plan, home: Path, models: Path) -> None:
        self._plan = plan
        self._home = home
        self._stack = Stack(home / "wsgiapp", models)
        self._failures: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        """All results, as they are written to the JSON file."""
        plan = self._plan
        steps = plan.rounds * len(plan.loads) * len(plan.systems)
        self._progress = Progress(steps * (plan.seconds + WARM_UP_SECONDS) + 10 * len(plan.systems))
        with ExitStack() as stack:
            self._progress.show("starting wsgiapp")
            stack.callback(self._stack.stop)
            self._stack.start()
            cases = self._cases()
            systems = self._start(stack, cases)
            generator = stack.enter_context(LoadProcess(cases))
            rounds = self._measure(generator, systems)
            described = {
                system.name: {
                    "title": system.title,
                    "start_seconds": system.start_seconds,
                    "memory": memory_by_group(system.pids()),
                }
                for system in systems
            }
            self._progress.show("stopping")
        self._progress.clear()
        cells = [
            {"system": name, "load": load, "rounds": each, **middle(each)} for (name, load), each in rounds.items()
        ]
        return {"machine": machine(), "systems": described, "cells": cells, "failures": self._failures}

    def _cases(self) -> dict[str, Sequence[Case]]:
        server = ModelServer(self._stack.backend)
        try:
            texts: list[TextCase] = server.texts(sentences())
        finally:
            server.close()
        constant = [ConstantCase(case.request, ANSWER) for case in texts]
        return {"text": texts, "constant": constant}

    def _start(self, stack: ExitStack, cases: dict[str, Sequence[Case]]) -> list[System]:
        """Those that start and answer rightly; what the others said is kept."""
        wanted: list[System] = [self._stack] if self._stack.name in self._plan.systems else []
        for recipe in RECIPES:
            if recipe.name in self._plan.systems:
                peer = Peer(recipe, self._home / recipe.name, self._stack)
                stack.callback(peer.stop)
                wanted.append(peer)
        ready = []
        for system in wanted:
            self._progress.show(f"starting {system.title}")
            try:
                if isinstance(system, Peer):
                    system.start()
                wait_until_right(system, cases[_cases_of(system)][0])
                ready.append(system)
            except Failure as exc:
                self._failures[system.name] = str(exc)
                self._progress.say(f"{system.title}: {exc}")
            self._progress.spend(10)
        return ready

    def _measure(self, generator: LoadProcess, systems: Sequence[System]) -> dict[tuple[str, str], list[Any]]:
        rounds: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
        for number in range(self._plan.rounds):
            for load in self._plan.loads:
                for system in systems:
                    self._progress.show(f"round {number + 1}, {load.name} connections: {system.title}")
                    outcome = generator.run(self._load(system, load), _cases_of(system))
                    rounds[system.name, load.name].append(sample(outcome))
                    self._progress.spend(self._plan.seconds + WARM_UP_SECONDS)
        return rounds

    def _load(self, system: System, load: ClosedLoad) -> Load:
        return Load(
            system.host,
            system.port,
            load.connections,
            self._plan.seconds,
            WARM_UP_SECONDS,
            load.keep_alive,
            watched=tuple(system.pids()),
        )


def _cases_of(system: System) -> str:
    return "constant" if system.name == "empty" else "text"
