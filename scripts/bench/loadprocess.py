"""The load generator in a process of its own, which does nothing else."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Self

from bench import grpcload, loadgen
from bench.cases import Case
from bench.outcome import Load, Outcome


class LoadProcess:
    """`run` sends a load with one of the named sets of cases. The process ends with the `with` block."""

    def __init__(self, cases: Mapping[str, Sequence[Case]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, dict(cases)), daemon=True)

    def run(self, load: Load, cases: str, *, over_grpc: bool = False) -> Outcome:
        """What came of the load."""
        self._pipe.send((load, cases, over_grpc))
        outcome: Outcome = self._pipe.recv()
        return outcome

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, cases: Mapping[str, Sequence[Case]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the benchmark ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            load, name, over_grpc = pipe.recv()
        except EOFError:
            return
        pipe.send(grpcload.run(load, cases[name]) if over_grpc else loadgen.run(load, cases[name]))
