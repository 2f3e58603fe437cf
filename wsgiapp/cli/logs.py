"""`wsgiapp logs`: follow all logs."""

import os
import signal
from argparse import Namespace
from typing import Any

from wsgiapp.cli.parsing import add_command
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `logs` to the parser of the `wsgiapp` command."""
    add_command(commands, "logs", _run, "follow all logs")


def _run(settings: Settings, arguments: Namespace) -> int:
    files = sorted(settings.logs.glob("*.log"))
    if not files:
        print(f"no logs in {settings.logs}")
        return 1
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and `tail` would inherit
    return os.execvp("tail", ["tail", "-n", "20", "-F", *map(str, files)])  # noqa: S607  # nosec B607
