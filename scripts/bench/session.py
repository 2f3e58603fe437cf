"""One run: start everything, measure in rounds across the systems, stop everything."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.barework import bare_image_seconds
from bench.loadprocess import LoadProcess
from bench.plan import START_SECONDS, Plan, Shape
from bench.processes import Failure, everything_ended
from bench.progress import Progress
from bench.readiness import ready_seconds
from bench.results import machine, memory_by_group, middle, sample
from bench.subjects import Subject, all_cases, image_subjects, text_subjects
from bench.systems import RECIPES, Peer, Stack, System, wait_until_right
from bench.workload import photographs

Key = tuple[str, str, str]  # kind, system, load
Rounds = defaultdict[Key, list[dict[str, Any]]]


class Session:
    """Everything that is started is ended when `run` returns or raises, Ctrl-C included."""

    def __init__(self, plan: Plan, home: Path, models: Path, photos: Path | None = None) -> None:
        self._plan = plan
        self._home = home
        self._stack = Stack(home / "wsgiapp", models)
        self._jpegs = photographs(photos)
        self._failures: dict[str, str] = {}
        self._progress = Progress(plan.seconds)

    def run(self) -> dict[str, Any]:
        """All results, as they are written to the JSON file. Raises `Failure` when the stack itself does not start."""
        started = time.monotonic()
        rounds: Rounds = defaultdict(list)
        bare: list[float] = []
        with everything_ended() as running:
            self._progress.show("starting wsgiapp")
            running.callback(self._stack.stop)
            self._stack.start()
            cases = all_cases(self._stack, self._jpegs)
            self._generator = running.enter_context(LoadProcess(cases))
            systems = self._start(running, cases)
            texts = text_subjects(systems, self._plan.systems)
            images = image_subjects(systems, self._plan.image_systems)
            self._closed(texts, rounds)
            self._sweep(texts, rounds)
            for _ in range(self._plan.rounds if images else 0):
                self._progress.show("image steps alone")
                bare.append(bare_image_seconds(self._jpegs, self._plan.image[0].seconds))
                self._round(images, self._plan.image, rounds)
            described = {system.name: _description(system) for system in systems}
            described |= {
                each.name: {"title": each.title, "memory": {}} for each in texts if each.name not in described
            }
            self._progress.show("a worker's start")
            ready = ready_seconds(self._stack)
            self._progress.show("stopping")
        self._progress.clear()
        return {
            "machine": machine(),
            "took_seconds": time.monotonic() - started,
            "systems": described,
            "ready_seconds": ready,
            "bare_image_us": sorted(1e6 * seconds for seconds in bare),
            "cells": [
                {"kind": kind, "system": name, "load": load, **middle(each), "rounds": each}
                for (kind, name, load), each in rounds.items()
            ],
            "failures": self._failures,
        }

    def _start(self, running: ExitStack, cases: dict[str, Any]) -> list[System]:
        """Those that start and answer correctly; what the others said is kept."""
        names = {*self._plan.systems, *self._plan.open_systems, *self._plan.image_systems}
        peers = [Peer(recipe, self._home / recipe.name, self._stack) for recipe in RECIPES if recipe.name in names]
        for peer in peers:
            running.callback(peer.stop)
        # All at once: most of their time goes into importing TensorFlow.
        started = [peer for peer in peers if self._succeeds(peer, peer.start)]
        wait_until_right(self._stack, cases["text"][0])
        ready: list[System] = [self._stack]
        for peer in started:
            self._progress.show(f"starting {peer.title}")
            case = cases["constant" if peer.name == "empty" else "text"][0]
            if self._succeeds(peer, partial(wait_until_right, peer, case)):
                peer.pause()
                ready.append(peer)
            self._progress.spend(START_SECONDS)
        return ready

    def _succeeds(self, peer: Peer, step: Callable[[], None]) -> bool:
        """Take a step of a peer's start; its failure is reported, and the others go on."""
        try:
            step()
        except Failure as exc:
            self._failures[peer.name] = str(exc)
            self._progress.say(f"{peer.title}: {exc}")
            return False
        return True

    def _closed(self, subjects: Sequence[Subject], rounds: Rounds) -> None:
        for _ in range(self._plan.rounds):
            self._round(subjects, self._plan.text, rounds)

    def _sweep(self, subjects: Sequence[Subject], rounds: Rounds) -> None:
        """Each at shares of its own saturation, which is the most that it did in a closed loop of this run."""
        swept = [subject for subject in subjects if subject.name in self._plan.open_systems]
        saturation = {
            subject.name: max(
                (middle(each)["throughput"] for (kind, name, _), each in rounds.items() if name == subject.name),
                default=0.0,
            )
            for subject in swept
        }
        for _ in range(self._plan.open_rounds):
            for shape in self._plan.open:
                for subject in swept:
                    if saturation[subject.name] > 0:
                        self._measure(subject, shape.at(saturation[subject.name]), rounds)

    def _round(self, subjects: Sequence[Subject], shapes: Sequence[Shape], rounds: Rounds) -> None:
        for shape in shapes:
            for subject in subjects:
                self._measure(subject, shape, rounds)

    def _measure(self, subject: Subject, shape: Shape, rounds: Rounds) -> None:
        self._progress.show(f"{subject.kind}, {shape.name}: {subject.title}")
        with _awake(subject):
            outcome = self._generator.run(subject.load(shape), subject.cases, over_grpc=subject.over_grpc)
        rounds[subject.kind, subject.name, shape.name].append(sample(outcome, shape.rate))
        self._progress.spend(shape.planned_seconds)


@contextmanager
def _awake(subject: Subject) -> Iterator[None]:
    subject.resume()
    try:
        yield
    finally:
        subject.pause()


def _description(system: System) -> dict[str, Any]:
    return {"title": system.title, "start_seconds": system.start_seconds, "memory": memory_by_group(system.pids())}
