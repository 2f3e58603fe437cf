"""The worker process: `python -m wsgiapp.worker`.

It takes its listening socket from file descriptor 0, where supervisord puts it (`[fcgi-program]`), so that the socket
outlives any worker; or it binds `--listen HOST:PORT` itself. With `--socket` it has one of its own besides, by which
Nginx shares requests out evenly.

gevent patches everything but threads: pictures are prepared on native ones (see `native_threads`).
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run one worker until SIGTERM; the exit status."""
    from gevent import monkey

    with _entry_points_read_once():
        monkey.patch_all(thread=False, queue=False)

    import socket

    from wsgiapp.errors import WsgiappError
    from wsgiapp.observability import logs
    from wsgiapp.settings.started import process_settings

    parser = argparse.ArgumentParser(prog="python -m wsgiapp.worker", description="one gateway worker")
    parser.add_argument("--listen", metavar="HOST:PORT", help="bind this address instead of using descriptor 0")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="listen on this Unix socket, too")
    parser.add_argument(
        "--parent-pipe",
        type=int,
        metavar="FD",
        help="drain when the other end of this pipe is closed: its holder ended",
    )
    options = parser.parse_args(argv)
    try:
        if options.parent_pipe is not None:
            _end_with_parent(options.parent_pipe)
        configured = process_settings()
        from wsgiapp.app import create_app
        from wsgiapp.server.serving import open_access_log, process_log, serve

        if options.listen:
            host, _, port = options.listen.rpartition(":")
            listener = socket.create_server((host, int(port)), backlog=1024)
        else:
            listener = socket.socket(fileno=0)
        with process_log():
            logs.configure(configured.log.level)
            access_log = open_access_log()
            serve(create_app(configured, access_log), access_log, configured, listener, options.socket)
    except (WsgiappError, OSError) as exc:
        print(f"wsgiapp: {exc}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _entry_points_read_once() -> Iterator[None]:
    """gevent looks for plugins before and after each module that it patches, and so reads what all packages offer
    19 times (measured: 0.15 s, a fifth of a worker's start).
    """
    read = metadata.entry_points
    metadata.entry_points = read().select
    try:
        yield
    finally:
        metadata.entry_points = read


def _end_with_parent(pipe: int) -> None:
    import os
    import signal
    import threading  # native ones, see above

    def watch() -> None:
        os.read(pipe, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
