"""`wsgiapp down`: stop everything, drained."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli import progress
from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.stack import Stack
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `down` to the parser of the `wsgiapp` command."""
    add_command(commands, "down", _run, "stop everything, drained")


def _run(settings: Settings, arguments: Namespace) -> int:
    Stack(settings, progress.show).down()
    progress.end()
    print("stopped")
    return 0
