"""`wsgiapp render`: write the configuration of the other programs."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli.parsing import add_command
from wsgiapp.deployment.render import render
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `render` to the parser of the `wsgiapp` command."""
    add_command(commands, "render", _run, "write the programs' configuration, for those who start them by themselves")


def _run(settings: Settings, arguments: Namespace) -> int:
    # What a model server has taken stays as it is: see `render`.
    render(settings, models=not (settings.run / "models.config").exists())
    for path in sorted(path for pattern in ("*.conf", "*.config", "*.ini") for path in settings.run.glob(pattern)):
        print(path)
    return 0
