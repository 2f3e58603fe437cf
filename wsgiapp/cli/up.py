"""`wsgiapp up`: start everything and wait until it is ready."""

import os
from argparse import Namespace
from functools import partial
from typing import Any

from wsgiapp.cli import progress
from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.stack import Stack
from wsgiapp.deployment.stack_settings import stack_settings
from wsgiapp.settings.exposed import exposed
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `up` to the parser of the `wsgiapp` command."""
    load = partial(stack_settings, starts=True)
    add_command(commands, "up", _run, "start everything and wait until it is ready", load)


def _run(settings: Settings, arguments: Namespace) -> int:
    stack = Stack(settings, progress.show)
    notices = stack.up()
    progress.end()
    notices += exposed(settings, frozenset(os.environ))
    print(f"wsgiapp is ready at {stack.address}", *notices, sep="\n")
    return 0
