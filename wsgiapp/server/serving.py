"""One worker from its start to its drain."""

import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import gevent
from gevent.event import Event

from wsgiapp.server.wsgi_server import Server
from wsgiapp.settings.schema import Settings

log = logging.getLogger(__name__)

# A prediction makes some 200 objects, hardly any of them in cycles: with Python's 700 the collector ran every few.
GC_THRESHOLDS = (20_000, 20, 20)
# Of the access log: bytes that wait at most, and for how long.
LOG_BUFFER = 64 * 1024
FLUSH_SECONDS = 0.5


class Application(Protocol):
    """What is served: `app.Application`."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]: ...

    def warm_up(self) -> None:
        """Load what the first request would otherwise wait for."""

    def close(self) -> None:
        """Give back what it holds."""


def open_access_log() -> BinaryIO:
    """Standard output, written in batches: one by one, each line costs a switch to supervisord, which copies them."""
    return open(sys.stdout.fileno(), "wb", buffering=LOG_BUFFER, closefd=False)


def serve(
    app: Application, access_log: BinaryIO, settings: Settings, listener: socket.socket, own: Path | None = None
) -> None:
    """Serve on `listener`, and on a Unix socket at the path `own`, until SIGTERM or SIGINT, then drain and return."""
    server = Server(listener, app, settings)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    app.warm_up()
    gc.freeze()  # what is loaded stays; the collector need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)
    helpers = [gevent.spawn(_flush_regularly, access_log), gevent.spawn(server.tick)]
    server.start()
    if own is not None:
        server.listen_too(own)
    process = os.environ.get("SUPERVISOR_PROCESS_NAME", f"worker-{os.getpid()}")
    with _announced(settings.ready_file(process)):
        log.info("ready, pid %d", os.getpid())
        stop.wait()
    abandoned = server.drain(settings.http.drain_seconds)
    app.close()
    gevent.killall(helpers)
    with suppress(OSError):
        access_log.close()
    log.log(logging.WARNING if abandoned else logging.INFO, "drained, %d connections aborted", abandoned)


def _flush_regularly(stream: BinaryIO) -> None:
    while True:
        gevent.sleep(FLUSH_SECONDS)
        with suppress(OSError):  # its reader has gone
            stream.flush()


@contextmanager
def _announced(path: Path) -> Iterator[None]:
    """The ready file exists while the body runs: whoever restarts workers waits for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
