"""A worker whose longest turn of the event loop can be asked for: `python worker.py SOCKET ARGUMENTS...`.

Whoever connects to the Unix socket SOCKET gets, as JSON, the seconds of the longest turn since it was last asked for,
by the clock (`wall`) and of the processor's time (`cpu`), which others on a busy machine do not lengthen, and, as a
measure of this machine, the `cpu` seconds that a fixed piece of work takes.
"""

from gevent import monkey

monkey.patch_all(thread=False, queue=False)

import json
import sys
import threading
import time
from pathlib import Path

import gevent
from gevent.monkey import get_original

from wsgiapp.observability.loop_turns import LoopTurns
from wsgiapp.worker import main

CALIBRATION_STEPS = 100_000  # some 5 ms


def answer(path: Path, turns: dict[str, LoopTurns]) -> None:
    """On a thread of its own, so that no answer is a turn, and none waits for one."""
    listener = get_original("socket", "socket")(get_original("socket", "AF_UNIX"))
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen()
    while True:
        connection, _ = listener.accept()
        longest = {name: max(each.take()[2], default=0.0) for name, each in turns.items()}
        connection.sendall(json.dumps({**longest, "calibration": calibration()}).encode())
        connection.close()


def calibration() -> float:
    """The seconds of a fixed piece of work."""
    started = time.thread_time()
    total = 0
    for step in range(CALIBRATION_STEPS):
        total += step
    return time.thread_time() - started


if __name__ == "__main__":
    loop = gevent.get_hub().loop
    measured = {"wall": LoopTurns(loop), "cpu": LoopTurns(loop, time.thread_time)}
    for each in measured.values():
        each.start()
    threading.Thread(target=answer, args=(Path(sys.argv[1]), measured), daemon=True).start()
    sys.exit(main(sys.argv[2:]))
