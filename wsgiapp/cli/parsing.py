"""How a sub-command is added to the parser."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

from wsgiapp.deployment.stack_settings import stack_settings
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.started import process_settings

Run = Callable[[Settings, Namespace], int]
#: The settings, and what the operator should know of them.
Load = Callable[[], tuple[Settings, list[str]]]


def own_settings() -> tuple[Settings, list[str]]:
    """By this process's own variables: of what supervisord runs, and of what speaks of no stack."""
    return process_settings(), []


def add_command(commands: Any, name: str, run: Run, about: str, load: Load = stack_settings) -> ArgumentParser:
    """Add a sub-command; `run` gets the settings that `load` finds and the arguments, and returns the exit status."""
    parser: ArgumentParser = commands.add_parser(name, help=about, description=about)
    parser.set_defaults(run=run, load=load)
    return parser
