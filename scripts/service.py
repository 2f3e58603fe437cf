"""Start at boot: install the unit of systemd that runs this clone's stack, or remove it again.

    python scripts/service.py install [NAME]
    python scripts/service.py uninstall [NAME]

It is the one thing here that writes outside the repository and WSGIAPP_HOME: NAME.service (default: wsgiapp) in
/etc/systemd/system. Where the caller is not root, sudo writes it. The caller's variables WSGIAPP_* go into the unit.
With DESTDIR the file goes below that folder, and systemd is told nothing.
"""

import argparse
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from wsgiapp.deployment.supervisor import Supervisor
from wsgiapp.errors import SettingsError, StackError, WsgiappError
from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.loading import ENVIRONMENT_PREFIX, load_settings
from wsgiapp.settings.schema import REPOSITORY, TABLES, Settings
from wsgiapp.settings.templates import fill_file

UNITS = Path("etc/systemd/system")
BOOTED = Path("/run/systemd/system")  # sd_booted(3)
NAME = re.compile(r"[A-Za-z0-9:_.-]{1,200}")
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - the service has its own (PrivateTmp)  # nosec B108
PARTS = 3  # Nginx, the workers, the model server stop one after the other


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("command", choices=("install", "uninstall"))
    parser.add_argument("name", nargs="?", default="wsgiapp", help="of the unit; each clone or home needs its own")
    arguments = parser.parse_args(argv)
    try:
        if not NAME.fullmatch(arguments.name):
            raise StackError(f"{arguments.name}: not a unit's name (letters, digits, `:`, `_`, `.`, `-`)")
        (install if arguments.command == "install" else uninstall)(load_settings(), arguments.name)
    except WsgiappError as exc:
        print(f"service: {exc}", file=sys.stderr)
        return 1
    return 0


def install(settings: Settings, name: str) -> None:
    """Write the unit, and have systemd start it now and at boot. Raises `WsgiappError`."""
    path = _unit_path(name)
    if not os.environ.get("DESTDIR"):
        require_visible(REPOSITORY, settings.home, settings.conf)
    text = unit(settings, os.environ)
    _require_own(path, settings)
    is_active = _systemctl("is-active", "--quiet", name, check=False)
    if not is_active and Supervisor(settings.run).is_up():
        raise StackError("the stack runs already, outside of systemd; `make down` first")
    _as_root(["install", "-D", "-m", "0644", "/dev/stdin", str(path)], text)
    print(f"wrote {path}")
    _systemctl("daemon-reload")
    _systemctl("enable", name)
    if is_active:
        print(f"{name} runs; `systemctl restart {name}` applies what has changed")
    else:
        _systemctl("start", name)


def uninstall(settings: Settings, name: str) -> None:
    """Stop the unit, drained, and remove it. Harmless where there is none. Raises `WsgiappError`."""
    path = _unit_path(name)
    if not path.exists():
        print(f"{path} does not exist; nothing to do")
        return
    _require_own(path, settings)
    _systemctl("disable", "--now", name)
    _as_root(["rm", str(path)])
    print(f"removed {path}")
    _systemctl("daemon-reload")


def unit(settings: Settings, environ: Mapping[str, str]) -> str:
    """The unit's text. Raises `SettingsError` for paths that systemd cannot take, and for secrets in variables."""
    program = Path(sys.executable).with_name("wsgiapp")
    variables = {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_PREFIX)}
    variables |= {"WSGIAPP_HOME": str(settings.home), "WSGIAPP_CONF": str(settings.conf)}
    for secret in _secrets() & set(variables):
        raise SettingsError(
            f"{secret}: everybody may read a unit; conf/wsgiapp.toml, readable by its owner, may have it"
        )
    writable = [settings.home, settings.conf]  # promotions change conf/models.config
    if settings.backend.socket_path and settings.app.backend != "external":
        writable.append(settings.backend.socket_path.parent)
    settings.home.mkdir(parents=True, exist_ok=True)
    values = {
        "pid_file": _specifiers(settings.run / "supervisord.pid"),
        "program": _quoted(program).replace("$", "$$"),
        "repository": _specifiers(REPOSITORY),
        "repository_uri": _specifiers(quote(str(REPOSITORY))),
        "stop_seconds": str((PARTS + 1) * (int(settings.http.drain_seconds) + 10)),  # and orphans
        "user": pwd.getpwuid(settings.home.stat().st_uid).pw_name,  # who made it can write to it
        "variables": "\n".join(
            f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(variables.items())
        ),
        "writable": " ".join(_quoted(folder) for folder in writable),
    }
    return fill_file(REPOSITORY / "conf/wsgiapp.service", values)


def require_visible(*folders: Path) -> None:
    """Raise `StackError` for a folder that the service could not see."""
    for folder in folders:
        if any(folder.is_relative_to(temporary) for temporary in TEMPORARY):
            raise StackError(f"{folder}: the service has temporary folders of its own; move this one elsewhere")


def _secrets() -> set[str]:
    return {
        f"{ENVIRONMENT_PREFIX}{table}_{field.name}".upper()
        for table, kind in TABLES.items()
        for field, declaration in declarations(kind)
        if declaration.secret
    }


def _quoted(value: Path | str) -> str:
    """A word as systemd.syntax(7) has it."""
    return '"' + _specifiers(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _specifiers(value: Path | str) -> str:
    """A value without `%` that systemd would expand (systemd.unit(5))."""
    if not str(value).isprintable():
        raise SettingsError(f"{value!r}: systemd cannot take control characters")
    return str(value).replace("%", "%%")


def _unit_path(name: str) -> Path:
    """Where the unit belongs. Raises `StackError` where there is no systemd to read it."""
    if destination := os.environ.get("DESTDIR"):
        return Path(destination).absolute() / UNITS / f"{name}.service"
    if not BOOTED.is_dir() or not shutil.which("systemctl"):
        raise StackError(
            "this machine was not started by systemd; whatever starts its services has to call `wsgiapp up` at boot"
        )
    return Path("/") / UNITS / f"{name}.service"


def _require_own(path: Path, settings: Settings) -> None:
    """Raise `StackError` where the unit is another clone's, or another home's."""
    if path.exists() and f"PIDFile={_specifiers(settings.run / 'supervisord.pid')}\n" not in path.read_text():
        raise StackError(f"{path} is there already and starts something else; SERVICE=name gives this one another name")


def _systemctl(*arguments: str, check: bool = True) -> bool:
    """Whether systemd did it. Raises `StackError` where it had to."""
    if os.environ.get("DESTDIR"):
        return False
    return _as_root(["systemctl", *arguments], check=check)


def _as_root(command: list[str], text: str = "", *, check: bool = True) -> bool:
    if os.geteuid() != 0 and not os.environ.get("DESTDIR"):
        command = ["sudo", *command]
    try:
        done = subprocess.run(command, input=text, text=True)
    except FileNotFoundError:
        raise StackError(f"{command[0]} is missing; run this as root") from None
    if check and done.returncode != 0:
        raise StackError(f"`{' '.join(command)}` failed with exit status {done.returncode}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
