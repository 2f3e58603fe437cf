"""`wsgiapp watchdog`: replace processes that hang: what supervisord runs as an event listener."""

import logging
import os
import sys
import threading
from argparse import Namespace
from typing import Any, BinaryIO

from wsgiapp.cli.parsing import add_command, own_settings
from wsgiapp.deployment.watchdog import Watchdog
from wsgiapp.observability import logs
from wsgiapp.settings.schema import Settings

log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add `watchdog` to the parser of the `wsgiapp` command."""
    about = "replace processes that hang: what supervisord runs as an event listener"
    add_command(commands, "watchdog", _run, about, own_settings)


def _run(settings: Settings, arguments: Namespace) -> int:
    logs.configure(settings.log.level)
    logs.never_wait(sys.stderr.fileno())  # for a supervisord that is stopped
    threading.Thread(target=_watch, args=(settings,), daemon=True).start()
    _answer_events(sys.stdin.buffer, sys.stdout.buffer)
    return 0


def _watch(settings: Settings) -> None:
    try:
        Watchdog(settings).run()
    except BaseException:
        log.exception("the watchdog failed; supervisord starts it anew")
        os._exit(1)


def _answer_events(events: BinaryIO, answers: BinaryIO) -> None:
    """Take supervisord's events (http://supervisord.org/events.html) until it has gone.

    They are needed for nothing but their answers: each wakes supervisord, which otherwise may look only after a second
    at what it has to start again.
    """
    while True:
        answers.write(b"READY\n")
        answers.flush()
        head = events.readline()
        if not head:
            return
        fields = dict(field.split(b":", 1) for field in head.split())
        events.read(int(fields[b"len"]))
        answers.write(b"RESULT 2\nOK")
        answers.flush()
