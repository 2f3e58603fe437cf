"""`wsgiapp up`: start everything and wait until it is ready."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli import progress
from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.stack import Stack
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `up` to the parser of the `wsgiapp` command."""
    add_command(commands, "up", _run, "start everything and wait until it is ready")


def _run(settings: Settings, arguments: Namespace) -> int:
    stack = Stack(settings, progress.show)
    stack.up()
    progress.end()
    print(f"wsgiapp is ready at {stack.address}")
    return 0
