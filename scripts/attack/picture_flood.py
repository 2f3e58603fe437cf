"""Sends each hostile picture eight times at once to a service that runs, with a good one beside them:
`python scripts/attack/picture_flood.py http://127.0.0.1:8080/cv_sod/predict WORKER_PID...`.

Prints the answers by status, the time until the last of them, how long the good picture took meanwhile (at most), and
the most memory that any of the workers had.
"""

import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attack.pictures import PICTURES, SIDES, jpeg

AT_ONCE = 8
PEAK_RESET = "5"  # proc(5), /proc/pid/clear_refs


def main() -> None:
    """Print a table."""
    url, pids = sys.argv[1], sys.argv[2:]
    good = jpeg(SIDES[1])
    print(
        "| picture | answers | seconds until the last | good picture, seconds | MB of a worker |\n|---|---|---|---|---|"
    )
    for name, made in PICTURES.items():
        print(f"| {name} | {' | '.join(_flood(url, made(), good, pids))} |", flush=True)


def _flood(url: str, file: bytes, good: bytes, pids: Sequence[str]) -> Sequence[str]:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text(PEAK_RESET)
    started = time.monotonic()
    beside: list[float] = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = [threads.submit(_send, url, file) for _ in range(AT_ONCE)]
        while not beside or not all(answer.done() for answer in answers):
            status, seconds = _send(url, good)
            beside.append(seconds if status == 200 else float("inf"))
    statuses = Counter(answer.result()[0] for answer in answers)
    return (
        ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())),
        f"{time.monotonic() - started:.2f}",
        f"{max(beside):.2f}",
        str(max(map(_peak, pids), default=0)),
    )


def _send(url: str, file: bytes) -> tuple[int, float]:
    started = time.monotonic()
    request = urllib.request.Request(url, file, {"Content-Type": "image/*", "Accept": "image/png"})
    try:
        with urllib.request.urlopen(request) as answer:
            answer.read()
            status = answer.status
    except urllib.error.HTTPError as exc:
        status = exc.code
    return status, time.monotonic() - started


def _peak(pid: str) -> int:
    """Megabytes, from proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
