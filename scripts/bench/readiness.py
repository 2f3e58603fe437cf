"""How long a worker takes from its start until it answers."""

from __future__ import annotations

import http.client
import os
import sys
import time
from statistics import median

from bench.processes import Child, Failure, wait_for
from bench.systems import Stack, environment, free_port

TRIES = 3
LIMIT_SECONDS = 30.0


def ready_seconds(stack: Stack) -> float:
    """The median over several starts of `python -m wsgiapp.worker --listen` beside the running stack."""
    return median(_start_once(stack) for _ in range(TRIES))


def _start_once(stack: Stack) -> float:
    port = free_port()
    variables = {
        **environment(stack.backend),
        "WSGIAPP_HOME": str(stack.home),
        "WSGIAPP_BACKEND_ADDRESS": stack.backend,
        "SUPERVISOR_PROCESS_NAME": f"bench-{os.getpid()}",
    }
    started = time.perf_counter()
    child = Child(
        [sys.executable, "-m", "wsgiapp.worker", "--listen", f"127.0.0.1:{port}"], stack.home / "ready.log", variables
    )
    try:
        for _ in wait_for(LIMIT_SECONDS, every=0.01):
            child.require_alive()
            if _answers(port):
                return time.perf_counter() - started
    finally:
        child.stop()
    raise Failure(f"a worker is not ready after {LIMIT_SECONDS:g} s; {child.last_words}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
