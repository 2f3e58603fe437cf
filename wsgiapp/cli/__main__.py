"""The `wsgiapp` command: what `make` and operators call."""

import argparse
import os
import sys
from importlib import import_module
from types import ModuleType

from wsgiapp import __version__
from wsgiapp.errors import WsgiappError, with_cause

COMMANDS = (
    "up",
    "down",
    "restart",
    "upgrade",
    "status",
    "logs",
    "models",
    "keys",
    "settings",
    "capacity",
    "render",
    "nginx",
    "container",
    "watchdog",
)
ON_STACK = ("up", "down", "restart", "upgrade", "status", "logs")
UMASK = 0o027  # logs and configuration are for the stack's user and group
CLOSED_OUTPUT = 141  # as a shell has it for a program that SIGPIPE ended


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    before = os.umask(0)
    os.umask(before | UMASK)
    try:
        return _run(argv)
    except BrokenPipeError:  # whoever reads has seen enough: `wsgiapp settings | head`
        for stream in (sys.stdout, sys.stderr):  # Python flushes them once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return CLOSED_OUTPUT
    except KeyboardInterrupt:
        return 130
    finally:
        os.umask(before)


def _run(argv: list[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="wsgiapp", description="An HTTP service in front of TensorFlow Serving.")
    parser.add_argument("--version", action="version", version=f"wsgiapp {__version__}")
    # What supervisord runs has been given its user already.
    is_root = os.geteuid() == 0 and "SUPERVISOR_ENABLED" not in os.environ
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _modules(sys.argv[1:] if argv is None else argv):
        command.add_parser(commands)
    try:
        arguments = parser.parse_args(argv)
        settings_now, notices = arguments.load()
        if argv is None and is_root and arguments.command in ON_STACK:
            from wsgiapp.deployment import privileges

            notices += privileges.drop(settings_now, arguments.command, sys.argv[1:], os.environ)
        for notice in notices:
            print(f"wsgiapp: {notice}", file=sys.stderr)
        exit_status: int = arguments.run(settings_now, arguments)
    except WsgiappError as exc:
        print(f"\nwsgiapp: {with_cause(exc)}", file=sys.stderr)
        return 1
    finally:
        sys.stdout.flush()
    return exit_status


def _modules(arguments: list[str]) -> list[ModuleType]:
    """The sub-commands that are needed: while Nginx's launcher imports modules, nobody accepts connections."""
    names = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    return [import_module(f"wsgiapp.cli.{name}") for name in names]


if __name__ == "__main__":
    sys.exit(main())
