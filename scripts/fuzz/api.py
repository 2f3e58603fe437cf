"""The running service under random requests: no 500, no hang, no traceback, no process that dies or swells."""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from bench.processes import GATEWAY, command_line, everything_ended, group_of, memory
from bench.systems import Stack
from fuzz.requests import Request, Requests

CONNECTIONS = 8
SECONDS_A_REQUEST = 30.0
# Of what was damaged, a server may wait for the rest, or for the next one.
DAMAGED_SECONDS = 1.0
# Of problems that begin alike one is told.
KIND_CHARS = 40
MAX_PROBLEMS = 20
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_WORKER_BYTES = 400 * 2**20
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
TRACES = (b"Traceback (most recent call last)", b'File "/')
GOOD = b'{"line": "\xe6\x88\x91\xe5\xbe\x88\xe5\x96\x9c\xe6\xac\xa2"}'


class Findings:
    """What was answered, and what must not be."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.problems: list[str] = []
        self._kinds: set[str] = set()

    def judge(self, request: Request, answer: bytes, seconds: float) -> None:
        """Look at one answer. To a damaged request only failures say something: it may be two, one of HTTP/0.9,
        or the beginning of one.
        """
        answer = answer.removeprefix(CONTINUE)
        status = STATUS.match(answer)
        self.statuses[status[1].decode() if status else "none"] += 1
        head, _, body = answer.partition(b"\r\n\r\n")
        wrong = ""
        if b" 500 " in answer[:13] or any(trace in answer for trace in TRACES):
            wrong = f"{answer[9:12].decode('latin-1')}: {body[:300]!r}"
        elif not request.is_whole:
            pass
        elif seconds > SECONDS_A_REQUEST:
            wrong = f"no whole answer in {seconds:.0f} s"
        elif status is None:
            wrong = f"no answer: {answer[:100]!r}"
        elif request.sent.startswith(b"HEAD ") and body:
            wrong = f"HEAD with a body: {body[:100]!r}"
        elif status[1] >= b"400" and body and not _is_error(head, body):
            wrong = f"{status[1].decode()}: not an error in JSON: {head[:200]!r} {body[:200]!r}"
        if wrong and wrong[:KIND_CHARS] not in self._kinds:
            self._kinds.add(wrong[:KIND_CHARS])
            self.problems.append(f"{wrong}\n  asked {request.sent[:2000]!r}")


def fuzz_api(seconds: float, home: Path, models: Path, seed: int) -> Findings:
    """Send random requests for so long, right ones between them. Raises `Failure` where the stack does not start."""
    stack = Stack(home, models)
    findings = Findings()
    with everything_ended() as running:
        running.callback(stack.stop)
        stack.start()
        workers = _workers(stack)
        requests = Requests(seed)
        until = time.monotonic() + seconds
        while time.monotonic() < until and len(findings.problems) < MAX_PROBLEMS:
            _send(stack, [next(requests) for _ in range(CONNECTIONS)], findings)
            _require_right(stack, findings)
        if _workers(stack) != workers:
            findings.problems.append(f"workers {workers} became {_workers(stack)}")
        for pid in _workers(stack):
            if (held := memory([pid]).max_rss) > MAX_WORKER_BYTES:
                findings.problems.append(f"worker {pid} holds {held / 2**20:.0f} MB")
    return findings


def _send(stack: Stack, requests: list[Request], findings: Findings) -> None:
    """All at the same time, each on a connection of its own."""
    connections = []
    for request in requests:
        connection = socket.create_connection((stack.host, stack.port), SECONDS_A_REQUEST)
        with suppress(OSError):  # answered before all was read
            connection.sendall(request.sent)
        connections.append(connection)
    for request, connection in zip(requests, connections, strict=True):
        started = time.monotonic()
        with connection:
            findings.judge(request, _answer(connection, request.is_whole), time.monotonic() - started)


def _answer(connection: socket.socket, is_whole: bool = True) -> bytes:
    """All that comes until the other end closes."""
    pieces = []
    with suppress(OSError):
        if not is_whole:
            connection.settimeout(DAMAGED_SECONDS)
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def _require_right(stack: Stack, findings: Findings) -> None:
    head = (
        f"POST /lstm/predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode()
    )
    with socket.create_connection((stack.host, stack.port), SECONDS_A_REQUEST) as connection:
        connection.sendall(head + GOOD)
        answer = _answer(connection)
    if b'"labels":"POS"' not in answer:
        findings.problems.append(f"a right request was answered {answer[:300]!r}")


def _is_error(head: bytes, body: bytes) -> bool:
    try:
        error = json.loads(body)
    except ValueError:
        return False
    if b"application/problem+json" in head.lower():
        return {"status", "title", "request_id"} <= error.keys()
    return isinstance(error.get("error"), str)


def _workers(stack: Stack) -> list[int]:
    return sorted(pid for pid in stack.pids() if group_of(pid) == GATEWAY and "-m wsgiapp.worker" in command_line(pid))
