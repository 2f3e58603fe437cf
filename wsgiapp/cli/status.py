"""`wsgiapp status`: show each process."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.stack import Stack
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `status` to the parser of the `wsgiapp` command."""
    add_command(commands, "status", _run, "show each process")


def _run(settings: Settings, arguments: Namespace) -> int:
    table, exit_status = Stack(settings).status()
    print(table, end="")
    return exit_status
