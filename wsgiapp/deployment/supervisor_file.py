"""supervisord's files: `@{name}` filled in so that supervisord reads the value as it is."""

from collections.abc import Mapping
from pathlib import Path

from wsgiapp.settings.templates import fill, read_template

# supervisord expands `%` in all values, and these a second time, by what became of them (supervisor 4.2 and 4.3,
# options.py: read_config, processes_from_section).
EXPANDED_TWICE = (("*", "stdout_logfile"), ("*", "stderr_logfile"), ("[supervisord]", "environment"))


def escaped(value: str) -> str:
    """A value that supervisord expands to what it is."""
    return value.replace("%", "%%")


def fill_supervisor_file(template: Path, values: Mapping[str, str], expressions: Mapping[str, str]) -> str:
    """A file's text with its placeholders filled in; `expressions` are values that supervisord is to expand.

    Raises `SettingsError`, as `fill_file` does.
    """
    once = {**{name: escaped(value) for name, value in values.items()}, **expressions}
    twice = {name: escaped(escaped(value)) for name, value in values.items()}
    section = option = ""
    filled = []
    for line in read_template(template).splitlines(keepends=True):
        if line.startswith("["):
            section = line.strip()
        elif not line[:1].isspace():  # otherwise the option goes on
            option = line.partition("=")[0].strip()
        is_twice = ("*", option) in EXPANDED_TWICE or (section, option) in EXPANDED_TWICE
        filled.append(fill(line, twice if is_twice else once, template))
    return "".join(filled)
