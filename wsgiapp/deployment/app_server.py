"""What runs the workers (setting `app.server`): their own program, gunicorn or uWSGI, and how each is configured."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

from wsgiapp.errors import SettingsError
from wsgiapp.settings.schema import Settings

# A packet of the uwsgi protocol has 16 bits for its size. This is the request line's share; headers need the rest.
MAX_UWSGI_LINE_BYTES = 48 * 1024
# uWSGI does not start with a longer queue than the kernel allows.
BACKLOG = 1024
KERNEL_BACKLOG = Path("/proc/sys/net/core/somaxconn")
PACKAGES: Mapping[str, str] = {"gunicorn": "gunicorn", "uwsgi": "pyuwsgi"}
SERVER_BY_ARGUMENT: Mapping[str, str] = {"wsgiapp.worker": "builtin", "gunicorn": "gunicorn", "uwsgi": "uwsgi"}


def effective_settings(settings: Settings) -> Settings:
    """The settings with the limits that the server itself has."""
    if settings.app.server != "uwsgi":
        return settings
    line_bytes = min(settings.limits.request_line_bytes, MAX_UWSGI_LINE_BYTES)
    return dataclasses.replace(settings, limits=dataclasses.replace(settings.limits, request_line_bytes=line_bytes))


def template_values(settings: Settings, nginx: str | None) -> dict[str, str]:
    """What the placeholders that depend on the server stand for, but `app_command`."""
    is_builtin = settings.app.server == "builtin"
    return {
        "app_processes": str(settings.workers if is_builtin else 1),
        "app_program": "fcgi-program:app" if is_builtin else "program:app",
        "backlog": str(min(BACKLOG, int(KERNEL_BACKLOG.read_text()))),
        "connections": str(settings.http.connections),
        "environment": sys.prefix,
        "pass": "uwsgi_pass " if settings.app.server == "uwsgi" else "proxy_pass http://",
        "socket": f"{settings.run}/app.sock" if nginx else f"{settings.http.host}:{settings.http.port}",
        "socket_option": "socket" if nginx else "http11-socket",
    }


def command(settings: Settings, nginx: str | None) -> str:
    """How supervisord, which expands "%", starts the server. Raises `SettingsError` where it is not installed."""
    server = settings.app.server
    python, run, conf = (_escaped(path) for path in (Path(sys.executable), settings.run, settings.conf))
    if server == "builtin":
        own_socket = f' --socket="{run}/%(program_name)s_%(process_num)02d.sock"'  # a worker each
        return f'"{python}" -m wsgiapp.worker{own_socket if nginx else ""}'
    program = Path(sys.executable).with_name(server)
    if not program.exists():
        package = PACKAGES[server]
        raise SettingsError(f'app.server = "{server}": {program} is missing; `pip install {package}` there brings it')
    configuration = f'-c "{conf}/gunicorn.py"' if server == "gunicorn" else f'--ini "{run}/uwsgi.ini"'
    return f'"{_escaped(program)}" {configuration}'


def running_server(pid: int) -> str:
    """What runs as process `pid` of supervisord's, whatever the settings say by now; empty where nothing does."""
    try:
        arguments = (Path("/proc") / str(pid) / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return ""
    names = {Path(argument).name for argument in arguments}
    return next((server for name, server in SERVER_BY_ARGUMENT.items() if name in names), "")


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
