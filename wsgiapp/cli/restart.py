"""`wsgiapp restart`: restart the workers one by one, without losing a request."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli import progress
from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.stack import Stack
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `restart` to the parser of the `wsgiapp` command."""
    add_command(commands, "restart", _run, "restart the workers one by one, without losing a request")


def _run(settings: Settings, arguments: Namespace) -> int:
    notices = Stack(settings, progress.show).restart()
    progress.end()
    print("all workers restarted", *notices, sep="\n")
    return 0
