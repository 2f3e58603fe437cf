"""`exposed`: secrets among the settings that stand in a file which everybody on the machine can read."""

import stat

from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.loading import variable_name
from wsgiapp.settings.schema import TABLES, Settings


def exposed(settings: Settings, variables: frozenset[str]) -> list[str]:
    """One line each; `variables` are the names of those that are set, by which a secret may have come instead."""
    file = settings.conf / "wsgiapp.toml"
    if not file.stat().st_mode & stat.S_IROTH:
        return []
    return [
        f"{file}: everybody on this machine can read {table}.{field.name}; `chmod o-r` the file, or set it by "
        f"{variable_name(table, field.name)}"
        for table, kind in TABLES.items()
        for field, declaration in declarations(kind)
        if declaration.secret
        and getattr(getattr(settings, table), field.name)
        and variable_name(table, field.name) not in variables
    ]
