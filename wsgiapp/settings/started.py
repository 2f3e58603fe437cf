"""What a stack was started with, remembered from `up` to `down` in `run/started.json`.

A stack keeps the variables that it was started with: supervisord hands them to each process that it starts. So they
are remembered for every other command: a second terminal, which has not set them, speaks of the same stack, and one
that has set others is told that they do not count. The settings' values are remembered for what a restart cannot apply,
and to tell which changes wait. The file is its owner's alone, and of a secret it has a digest.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from wsgiapp.settings.conversion import literal
from wsgiapp.settings.declaration import DOWN_AND_UP, RESTART, Declaration, declarations
from wsgiapp.settings.loading import ENVIRONMENT_PREFIX, load_settings, variable_name
from wsgiapp.settings.schema import REPOSITORY, TABLES, Settings

NAME = "started.json"
HOME, CONF = "WSGIAPP_HOME", "WSGIAPP_CONF"
# The keys by their variables.
SECRETS = {
    variable_name(table, field.name): f"{table}.{field.name}"
    for table, kind in TABLES.items()
    for field, declaration in declarations(kind)
    if declaration.secret
}


@dataclass(frozen=True, slots=True)
class Started:
    """Variables by name, of secrets without the value; the settings' values by key, of secrets a digest."""

    variables: Mapping[str, str | None]
    values: Mapping[str, Any]
    salt: str

    @classmethod
    def now(cls, settings: Settings, environ: Mapping[str, str]) -> Self:
        """As a stack is that starts with these."""
        variables = {name: None if name in SECRETS else value for name, value in _own(environ).items()}
        variables[CONF] = str(settings.conf)
        salt = secrets.token_hex(16)
        return cls(variables, {key: value for key, value, _ in _values(settings, salt)}, salt)

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """Of the stack with this run folder; `None` where none was started, or by another user."""
        try:
            return cls(**json.loads((run / NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, run: Path) -> None:
        """Remember it. No moment passes in which others could read the file."""
        beside = run / f"{NAME}.new"
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"variables": self.variables, "values": self.values, "salt": self.salt}, file, indent=1)
        beside.replace(run / NAME)

    def environment(self, shell: Mapping[str, str]) -> dict[str, str]:
        """The shell's environment with the stack's variables instead of its own."""
        inherited = {name: value for name, value in shell.items() if name == HOME or name not in _own(shell)}
        of_stack = {name: shell.get(name) if value is None else value for name, value in self.variables.items()}
        return {**inherited, **{name: value for name, value in of_stack.items() if value is not None}}

    def ignored(self, shell: Mapping[str, str]) -> list[str]:
        """The shell's variables that do not count, one line each."""
        lines = []
        for name, value in sorted(_own(shell).items()):
            if name not in self.variables:
                had = "without it"
            elif not self._had(name, value):
                had = "with another value" if name in SECRETS else f"with {literal(self.variables[name])}"
            else:
                continue
            lines.append(f"{name}: ignored, the stack was started {had}; `{DOWN_AND_UP.value}` applies it")
        return lines

    def applied(self, settings: Settings) -> Settings:
        """The settings as a restart applies them: what it cannot change is as the stack was started.

        A setting that was not there yet, when the stack was started by an earlier version, has its default: what runs
        knows nothing of it.
        """
        tables = {}
        for table, kind in TABLES.items():
            kept = {
                field.name: self.values.get(f"{table}.{field.name}", field.default)
                for field, declaration in declarations(kind)
                if declaration.after_change is DOWN_AND_UP and not declaration.secret
            }
            tables[table] = replace(getattr(settings, table), **kept)
        return replace(settings, **tables)

    def restarted(self, settings: Settings) -> Self:
        """After a restart with these settings."""
        applied = _values(self.applied(settings), self.salt)
        return replace(
            self, values={key: self.values[key] if self._is_hidden(key) else value for key, value, _ in applied}
        )

    def waiting(self, settings: Settings) -> list[str]:
        """The settings that have another value than the stack works by, one line each."""
        lines = []
        wanted = {key: (value, declaration) for key, value, declaration in _values(settings, self.salt)}
        for key, (value, declaration) in wanted.items():
            if self.values.get(key, value) != value and not self._is_hidden(key):
                change = f"{key} = {_shown(value)}: not applied, it is {_shown(self.values[key])}"
                if declaration.secret:
                    change = f"{key}: a change of it is not applied"
                lines.append(f"{change}; `{declaration.after_change.value}` applies it")
        before, now = _models(self.values), _models(wanted)
        for name in sorted(before ^ now):
            lines.append(f"models.{name}: not {'added' if name in now else 'removed'}; `{RESTART.value}` applies it")
        return lines

    def _had(self, name: str, value: str) -> bool:
        """Whether the stack was started with this value of a variable."""
        if name in SECRETS:
            return self.values.get(SECRETS[name]) == _digest(self.salt, value)
        return self.variables[name] == (str(Path(value).absolute()) if name == CONF else value)

    def _is_hidden(self, key: str) -> bool:
        """Whether a value is a secret from a variable, which other shells need not have."""
        return key in SECRETS.values() and variable_name(*key.split(".")) in self.variables


def process_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process: of one that supervisord runs with what a restart cannot apply as it was started.

    Otherwise a worker that is restarted would look for the model server at an address where it will be only later.
    """
    environ = os.environ if environ is None else environ
    settings = load_settings(environ)
    started = Started.read(settings.run) if "SUPERVISOR_ENABLED" in environ else None
    return started.applied(settings) if started else settings


def run_folder(environ: Mapping[str, str]) -> Path:
    """Where the stack that an environment speaks of keeps its files."""
    return Path(environ.get(HOME) or REPOSITORY / "var").absolute() / "run"


def forget(run: Path) -> None:
    """After the stack has ended."""
    (run / NAME).unlink(missing_ok=True)


def _own(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that say what the stack is; its home says which one is meant."""
    return {name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_PREFIX) and name != HOME}


def _values(settings: Settings, salt: str) -> Iterator[tuple[str, Any, Declaration]]:
    """Every setting's key, its value as JSON has it, and its declaration."""
    tables = {name: getattr(settings, name) for name in TABLES}
    tables |= {f"models.{name}": model for name, model in settings.models.items()}
    for table, values in tables.items():
        for field, declaration in declarations(type(values)):
            value = getattr(values, field.name)
            if declaration.secret:
                value = _digest(salt, value)
            # A pipeline's options may hold what TOML has and JSON does not: dates.
            yield f"{table}.{field.name}", json.loads(json.dumps(value, default=str)), declaration


def _models(keys: Mapping[str, Any]) -> set[str]:
    return {key.removeprefix("models.").rpartition(".")[0] for key in keys if key.startswith("models.")}


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}{secret}".encode()).hexdigest()


def _shown(value: Any) -> str:
    return "not set" if value is None else literal(value)
