"""The `wsgiapp` command: what `make` and operators call."""

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping

from wsgiapp import __version__
from wsgiapp.cli import capacity, models
from wsgiapp.deployment.container import Container
from wsgiapp.deployment.stack import Stack, exec_nginx
from wsgiapp.errors import WsgiappError
from wsgiapp.observability import logs
from wsgiapp.settings import reference
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="wsgiapp", description="An HTTP service in front of TensorFlow Serving.")
    parser.add_argument("--version", action="version", version=f"wsgiapp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, about) in COMMANDS.items():
        commands.add_parser(name, help=about, description=about).set_defaults(run=run)
    models.add_parser(commands)
    capacity.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(load_settings(), arguments)
    except WsgiappError as exc:
        print(f"\nwsgiapp: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _up(configured: Settings, arguments: Namespace) -> int:
    stack = Stack(configured, _progress)
    stack.up()
    _end_progress()
    print(f"wsgiapp is ready at {stack.address}")
    return 0


def _down(configured: Settings, arguments: Namespace) -> int:
    Stack(configured, _progress).down()
    _end_progress()
    print("stopped")
    return 0


def _restart(configured: Settings, arguments: Namespace) -> int:
    Stack(configured, _progress).restart()
    _end_progress()
    print("all workers restarted")
    return 0


def _status(configured: Settings, arguments: Namespace) -> int:
    return Stack(configured).status()


def _logs(configured: Settings, arguments: Namespace) -> int:
    files = sorted(configured.logs.glob("*.log"))
    if not files:
        print(f"no logs in {configured.logs}")
        return 1
    return os.execvp("tail", ["tail", "-n", "20", "-F", *map(str, files)])  # noqa: S607


def _nginx(configured: Settings, arguments: Namespace) -> int:
    exec_nginx(configured)
    return 0


def _container(configured: Settings, arguments: Namespace) -> int:
    logs.configure(configured.log.level)
    return Container(configured).run()


def _settings(configured: Settings, arguments: Namespace) -> int:
    print(reference.markdown())
    return 0


COMMANDS: Mapping[str, tuple[Callable[[Settings, Namespace], int], str]] = {
    "up": (_up, "start everything and wait until it is ready"),
    "down": (_down, "stop everything, drained"),
    "restart": (_restart, "restart the workers one by one, without losing a request"),
    "status": (_status, "show each process"),
    "logs": (_logs, "follow all logs"),
    "settings": (_settings, "print the settings with their defaults, meanings and what applies a change"),
    "nginx": (_nginx, "become Nginx: what supervisord runs"),
    "container": (_container, "run the model server's container in the foreground: what supervisord runs"),
}


def _progress(line: str) -> None:
    """One line that is overwritten on a terminal; nothing elsewhere, where it would fill a log."""
    if sys.stderr.isatty():
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)


def _end_progress() -> None:
    if sys.stderr.isatty():
        print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
