"""`wsgiapp upgrade`: replace all processes by such of the present code, without losing a request."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli import progress
from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.stack import Stack
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `upgrade` to the parser of the `wsgiapp` command."""
    about = "replace all processes by such of the present code, without losing a request"
    add_command(commands, "upgrade", _run, about)


def _run(settings: Settings, arguments: Namespace) -> int:
    notices = Stack(settings, progress.show).upgrade()
    progress.end()
    print("all processes replaced", *notices, sep="\n")
    return 0
