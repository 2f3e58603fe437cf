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
from typing import Any, Protocol

import gevent
from gevent.event import Event

from wsgiapp.observability import logs
from wsgiapp.observability.log_writer import LogWriter
from wsgiapp.observability.loop_turns import LoopTurns
from wsgiapp.observability.native_output import NativeOutput
from wsgiapp.server.heartbeat import send_beats
from wsgiapp.server.wsgi_server import Server
from wsgiapp.settings.schema import Settings
from wsgiapp.web.access_log import dropped_lines

log = logging.getLogger(__name__)

# A prediction makes some 200 objects, hardly any of them in cycles: with Python's 700 the collector ran every few.
GC_THRESHOLDS = (20_000, 20, 20)
# A line of the access log waits no longer.
FLUSH_SECONDS = 0.5
# At the end, for logs that nobody reads.
CLOSE_LOG_SECONDS = 2.0


class Application(Protocol):
    """What is served: `app.Application`."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]: ...

    def warm_up(self) -> None:
        """Load what the first request would otherwise wait for."""

    def close(self) -> None:
        """Give back what it holds."""


def open_access_log() -> LogWriter:
    """Standard output."""
    return LogWriter(sys.stdout.fileno(), "access", dropped_lines)


@contextmanager
def process_log() -> Iterator[None]:
    """`sys.stderr`, and a log that is configured meanwhile, never wait for whoever reads standard error."""
    direct, writer = sys.stderr, LogWriter(os.dup(2), "process", _dropped_messages)

    def write(lines: bytes) -> None:
        writer.write(lines)
        writer.flush()

    sys.stderr = logs.TextStream(write)
    try:
        yield
    finally:
        sys.stderr = direct
        writer.close(CLOSE_LOG_SECONDS)


def _dropped_messages(count: int) -> bytes:
    return logs.record(logging.WARNING, f"{count} messages were dropped here: nobody read them")


def serve(
    app: Application, access_log: LogWriter, settings: Settings, listener: socket.socket, own: Path | None = None
) -> None:
    """Serve on `listener`, and on a Unix socket at the path `own`, until SIGTERM or SIGINT, then drain and return."""
    server = Server(listener, app, settings, access_log if settings.log.access else None)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    app.warm_up()
    gc.freeze()  # what is loaded stays; the collector need not look at it again
    gc.set_threshold(*GC_THRESHOLDS)
    ready_file = settings.ready_file(os.environ.get("SUPERVISOR_PROCESS_NAME", f"worker-{os.getpid()}"))
    with NativeOutput(ready_file.with_suffix(".stderr")) as native_output:
        turns = LoopTurns(gevent.get_hub().loop)
        turns.start()
        helpers = [
            gevent.spawn(_write_regularly, access_log, native_output),
            gevent.spawn(server.tick),
            gevent.spawn(send_beats, settings.beats_socket, ready_file.stem),
            gevent.spawn(turns.record_regularly),
        ]
        server.start()
        if own is not None:
            server.listen_too(own)
        with _announced(ready_file):
            log.info("ready, pid %d", os.getpid())
            stop.wait()
        abandoned = server.drain(settings.http.drain_seconds)
        app.close()
        gevent.killall(helpers)
        turns.stop()
        access_log.close(CLOSE_LOG_SECONDS)
    log.log(logging.WARNING if abandoned else logging.INFO, "drained, %d connections aborted", abandoned)


def _write_regularly(access_log: LogWriter, native_output: NativeOutput) -> None:
    while True:
        gevent.sleep(FLUSH_SECONDS)
        access_log.flush()
        with suppress(OSError):
            native_output.log_lines()


@contextmanager
def _announced(path: Path) -> Iterator[None]:
    """The ready file exists while the body runs: whoever restarts workers waits for it.

    What a predecessor left is overwritten in place, for which a full disk has room.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
            file.flush()
            file.truncate()
    except OSError as exc:
        log.error("%s: %s; the worker serves, and `wsgiapp restart` will not know it", path, exc.strerror)
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_text() == str(os.getpid()):  # and not of one that has taken over
                path.unlink()
