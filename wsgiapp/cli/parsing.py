"""How a sub-command is added to the parser."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from wsgiapp.settings.schema import Settings

Run = Callable[[Settings, Namespace], int]


def add_command(commands: Any, name: str, run: Run, about: str) -> ArgumentParser:
    """Add a sub-command; `run` gets the settings and the arguments, and returns the exit status."""
    parser: ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run)
    return parser
