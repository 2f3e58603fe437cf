"""What each hostile picture costs: `python scripts/attack/picture_costs.py [NAME...]`.

Each is prepared once in a process of its own, as a worker's thread does it: the memory it takes at most besides what
the process had, the time, and what becomes of it.
"""

import os
import sys
import time
from collections.abc import Iterator

from attack.pictures import PICTURES
from wsgiapp.errors import RequestError
from wsgiapp.pipelines.pipeline import Payload, Resources
from wsgiapp.pipelines.saliency import Saliency

MEBIBYTE = 2**20
PEAK_RESET = "5"  # proc(5), /proc/pid/clear_refs


def main() -> None:
    """Print a table."""
    pipeline = Saliency({}, Resources())
    pipeline.warm_up()
    print("| picture | bytes | MB at most | seconds | answer |\n|---|---|---|---|---|")
    for name in sys.argv[1:] or PICTURES:
        file = PICTURES[name]()
        memory, seconds, answer = _cost(pipeline, file)
        print(f"| {name} | {len(file):,} | {memory} | {seconds:.2f} | {answer} |", flush=True)


def _cost(pipeline: Saliency, file: bytes) -> tuple[int, float, str]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        for line in _measured(pipeline, file):
            os.write(writer, f"{line}\n".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as pipe:
        memory, seconds, answer = pipe.read().splitlines()[-3:]
    return int(memory), float(seconds), answer


def _measured(pipeline: Saliency, file: bytes) -> Iterator[str]:
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write(PEAK_RESET)
    before, started = _status("VmRSS"), time.process_time()
    try:
        wanted = pipeline.preprocess(Payload(files={"img": file})).context
        answer = f"{wanted.width} x {wanted.height}"
    except RequestError as exc:
        answer = f"{type(exc).__name__}: {exc}"
    yield str((_status("VmHWM") - before) // MEBIBYTE)
    yield str(time.process_time() - started)
    yield answer


def _status(name: str) -> int:
    """Bytes, from proc(5)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
