"""`wsgiapp nginx`: become Nginx: what supervisord runs."""

from argparse import Namespace
from typing import Any

from wsgiapp.cli.parsing import add_command, own_settings
from wsgiapp.deployment.nginx import exec_nginx
from wsgiapp.settings.schema import Settings


def add_parser(commands: Any) -> None:
    """Add `nginx` to the parser of the `wsgiapp` command."""
    add_command(commands, "nginx", _run, "become Nginx: what supervisord runs", own_settings)


def _run(settings: Settings, arguments: Namespace) -> int:
    exec_nginx(settings)
    return 0
