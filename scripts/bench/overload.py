"""What the service does past saturation, and what a flood of one kind of requests does to another kind."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cases import Case, TextCase, post_json
from bench.loadgen import run
from bench.loadprocess import LoadProcess
from bench.outcome import Load, Outcome, percentile
from bench.overload_page import Part
from bench.processes import everything_ended
from bench.soak import worker_and_server_memory
from bench.subjects import all_cases
from bench.systems import REPOSITORY, Stack, environment, wait_until_right
from bench.tables import number
from bench.workload import ModelServer, photographs, sentences

RUNG_SECONDS = 8.0
CONNECTIONS = 1000
# What saturates: as many clients as the workers take at a time.
CLOSED_CONNECTIONS = {"text": 128, "medium": 128, "pictures": 32, "slow": 32, "longtexts": 32}
# Ten times the short texts that two cores answer is more than those cores can read, let alone send.
SHARES = {"text": (0.8, 1.0, 2.0, 3.0), "medium": (0.8, 1.0, 2.0, 3.0, 10.0)}
TEXT_RATE = 200.0
FLOOD = 5.0  # times what the kind saturates at
TIMEOUT_SECONDS = 20.0
SLOW_PATH = "/slow/predict"
MEDIUM_CHARS, LONG_CHARS = 600, 10_000
MEBIBYTE = 2**20
SLOW_SETTINGS = """
[models.slow]
pipeline = "segmented_text"
batching = false
"""
SLOW_CONFIG = """  config {
    name: "slow"
    base_path: "%s"
    model_platform: "tensorflow"
  }
}
"""

# The figures to reach.
MIN_GOODPUT = 92.0  # percent of the peak
MAX_TAIL = 2.0  # times the p99 at 80% of saturation
MAX_REJECTION_MS = 20.0
MIN_TEXTS = 195.0  # of 200 a second
MAX_TEXT_MS = 60.0


@dataclass(frozen=True)
class _Slow:
    """Any answer of the slow model is right."""

    request: bytes

    def accepts(self, body: bytes) -> bool:
        return b'"status":0' in body


def overload(home: Path, models: Path, names: Sequence[str], seconds: float) -> list[Part]:
    """Measure the parts and print a table of each."""
    slow_model = home / "slow_model"
    if not slow_model.exists():
        _write_slow_model(slow_model / "1")
    stack = Stack(home / "overload", models, _conf(home / "overload_conf", slow_model))
    parts = []
    with everything_ended() as running:
        running.callback(stack.stop)
        stack.start()
        cases = _cases(stack)
        wait_until_right(stack, cases["text"][0])
        flood = running.enter_context(LoadProcess(cases))
        text = running.enter_context(LoadProcess({"text": cases["text"]}))
        measured = _Measured(stack, flood, text, seconds)
        for name in names:
            part = measured.past_saturation(name) if name in SHARES else measured.beside(name)
            print(part.terminal(), flush=True)
            parts.append(part)
    missed = [line for part in parts for line in part.missed]
    print("\n".join(f"MISSED: {line}" for line in missed) or "all figures reached")
    return parts


class _Measured:
    def __init__(self, stack: Stack, flood: LoadProcess, text: LoadProcess, seconds: float) -> None:
        self._stack = stack
        self._flood = flood
        self._text = text
        self._seconds = seconds

    def past_saturation(self, kind: str) -> Part:
        """Goodput, latencies and rejections of one kind at shares of what it saturates at."""
        before = worker_and_server_memory(self._stack)
        first_before = self._first_request(kind)
        saturation = self._saturation(kind)
        found = [(share, self._flood.run(self._load(share * saturation), kind)) for share in SHARES[kind]]
        time.sleep(1.0)
        first_after = self._first_request(kind)
        peak = max(saturation, *(outcome.goodput for _, outcome in found))
        tail = percentile(found[0][1].latencies, 0.99)
        rows, missed = [], []
        for share, outcome in found:
            goodput = 100 * outcome.goodput / peak
            p99, rejected = percentile(outcome.latencies, 0.99), percentile(outcome.rejections, 0.99)
            sent = outcome.answered / outcome.seconds
            rows.append(
                [
                    f"{share:g}x",
                    number(sent),
                    number(outcome.goodput),
                    f"{goodput:.0f} %",
                    number(1000 * percentile(outcome.latencies, 0.5), 1),
                    number(1000 * p99, 1),
                    number(1000 * rejected, 1),
                    _errors(outcome),
                ]
            )
            if share >= 1:
                missed += [f"{kind} {share:g}x: goodput {goodput:.0f} %"] if goodput < MIN_GOODPUT else []
                missed += [f"{kind} {share:g}x: p99 {p99 / tail:.1f} times"] if p99 > MAX_TAIL * tail else []
                if 1000 * rejected > MAX_REJECTION_MS:
                    missed.append(f"{kind} {share:g}x: rejections' p99 {1000 * rejected:.0f} ms")
        head = ["offered", "req/s", "goodput", "of the peak", "p50 ms", "p99 ms", "rejected p99 ms", "errors"]
        after = worker_and_server_memory(self._stack)
        held = "; ".join(f"{before.get(pid, 0) / MEBIBYTE:.0f} -> {size / MEBIBYTE:.0f}" for pid, size in after.items())
        notes = [
            f"memory, MB a process: {held}",
            f"one request alone: {1000 * first_before:.1f} ms before, {1000 * first_after:.1f} ms after",
        ]
        return Part(f"{kind}: saturation {saturation:.0f}/s", head, rows, notes, missed)

    def beside(self, kind: str) -> Part:
        """Text at a steady rate, alone and beside a flood of another kind."""
        alone = self._text.run(self._load(TEXT_RATE), "text")
        saturation = self._saturation(kind)
        flooded: list[Outcome] = []
        load = self._load(FLOOD * saturation, self._seconds + 2.0)
        flood = threading.Thread(target=lambda: flooded.append(self._flood.run(load, kind)))
        flood.start()
        time.sleep(1.0)
        together = self._text.run(self._load(TEXT_RATE), "text")
        status = _status_seconds(self._stack)
        flood.join()
        other = flooded[0]
        rows = [
            _row("text alone", alone),
            _row(f"text beside {kind} at {load.rate:.0f}/s", together),
            _row(f"{kind} at {load.rate:.0f}/s", other),
        ]
        p99 = 1000 * percentile(together.latencies, 0.99)
        missed = [f"text beside {kind}: {together.goodput:.0f}/s"] if together.goodput < MIN_TEXTS else []
        missed += [f"text beside {kind}: p99 {p99:.0f} ms"] if not p99 <= MAX_TEXT_MS else []
        head = ["what", "goodput", "p50 ms", "p99 ms", "rejected p99 ms", "errors"]
        return Part(f"{kind}: saturation {saturation:.1f}/s", head, rows, [f"/readyz beside it: {status}"], missed)

    def _saturation(self, kind: str) -> float:
        """What the kind does in a closed loop."""
        seconds = max(3.0, self._seconds / 2)
        connections = CLOSED_CONNECTIONS[kind]
        load = Load(self._stack.host, self._stack.port, connections, seconds, timeout_seconds=TIMEOUT_SECONDS)
        return self._flood.run(load, kind).throughput

    def _load(self, rate: float, seconds: float = 0.0) -> Load:
        return Load(
            self._stack.host,
            self._stack.port,
            CONNECTIONS,
            seconds or self._seconds,
            rate=rate,
            timeout_seconds=TIMEOUT_SECONDS,
        )

    def _first_request(self, kind: str) -> float:
        load = Load(self._stack.host, self._stack.port, 1, 0.001, 0.0, rate=1.0, timeout_seconds=TIMEOUT_SECONDS)
        return percentile(self._flood.run(load, kind).latencies, 0.5)


def _row(name: str, outcome: Outcome) -> list[str]:
    p50, p99 = (1000 * percentile(outcome.latencies, share) for share in (0.5, 0.99))
    rejected = 1000 * percentile(outcome.rejections, 0.99)
    rate = number(outcome.goodput, 1)
    return [name, rate, number(p50, 1), number(p99, 1), number(rejected, 1), _errors(outcome)]


def _errors(outcome: Outcome) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in outcome.errors.items()) or "0"


def _status_seconds(stack: Stack) -> str:
    """How long readiness takes, and what it says."""
    from bench.cases import ConstantCase

    request = b"GET /readyz HTTP/1.1\r\nHost: bench.local\r\n\r\n"

    class _Ready(ConstantCase):
        def accepts(self, body: bytes) -> bool:
            return b'"status":0' in body

    load = Load(stack.host, stack.port, 4, 1.0, 0.0, rate=10.0, timeout_seconds=5.0)
    outcome = run(load, [_Ready(request, b"")])
    return f"{outcome.right} of {outcome.answered} in {1000 * percentile(outcome.latencies, 0.99):.0f} ms (p99)"


def _cases(stack: Stack) -> dict[str, Sequence[Case]]:
    cases: dict[str, Sequence[Case]] = dict(all_cases(stack, photographs(None)))
    server = ModelServer(stack.backend)
    try:
        lines = sentences()
        medium, long = _texts(server, lines, MEDIUM_CHARS, 40), _texts(server, lines, LONG_CHARS, 4)
    finally:
        server.close()
    slow = [_Slow(post_json(SLOW_PATH, {"line": "好"}))]
    return {
        "text": cases["text"],
        "pictures": cases["image"],
        "medium": medium,
        "longtexts": long,
        "slow": slow,
    }


def _texts(server: ModelServer, lines: Sequence[str], chars: int, count: int) -> list[TextCase]:
    """Texts of so many characters, made of sentences."""
    drawn = random.Random(2)
    made = []
    for _ in range(count):
        text = ""
        while len(text) < chars:
            text += drawn.choice(lines)
        made.append(text[:chars])
    return list(server.texts(made).values())


def _conf(folder: Path, slow_model: Path) -> Path:
    """The repository's settings with the slow model besides."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(REPOSITORY / "conf", folder)
    settings, config = folder / "wsgiapp.toml", folder / "models.config"
    settings.write_text(settings.read_text(encoding="utf-8") + SLOW_SETTINGS, encoding="utf-8")
    text = config.read_text(encoding="utf-8").rstrip().removesuffix("}")
    config.write_text(text + SLOW_CONFIG % slow_model.resolve(), encoding="utf-8")
    return folder


def _write_slow_model(version: Path) -> None:
    program = Path(__file__).with_name("slow_model.py")
    subprocess.run([sys.executable, str(program), str(version)], check=True, env=environment(""))
