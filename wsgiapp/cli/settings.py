"""`wsgiapp settings`: print the settings with their defaults, meanings and what applies a change."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli.parsing import add_command, own_settings
from wsgiapp.settings import reference
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `settings` to the parser of the `wsgiapp` command."""
    add_command(
        commands,
        "settings",
        _run,
        "print the settings with their defaults, meanings and what applies a change",
        own_settings,
    )


def _run(settings: Settings, arguments: Namespace) -> int:
    print(reference.markdown())
    return 0
