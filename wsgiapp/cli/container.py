"""`wsgiapp container`: run the model server's container in the foreground: what supervisord runs."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli.parsing import add_command, own_settings
from wsgiapp.deployment.container import Container
from wsgiapp.observability import logs
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `container` to the parser of the `wsgiapp` command."""
    add_command(
        commands,
        "container",
        _run,
        "run the model server's container in the foreground: what supervisord runs",
        own_settings,
    )


def _run(settings: Settings, arguments: Namespace) -> int:
    logs.configure(settings.log.level)
    return Container(settings).run()
