"""`setting`: the one place where a setting says its default, unit, reason, constraint and how a change is applied."""

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any

from wsgiapp.settings.constraints import Constraint

_KEY = "declaration"


class AfterChange(StrEnum):
    """The command that applies a changed setting. No process reads the settings again while it runs."""

    #: The workers read the file anew, one by one; Nginx reloads its own, rendered anew.
    RESTART = "make restart"
    #: supervisord.conf, or a process that `make restart` leaves alone, depends on the setting.
    DOWN_AND_UP = "make down && make up"


RESTART, DOWN_AND_UP = AfterChange.RESTART, AfterChange.DOWN_AND_UP
# A year: what is longer is a slip, and Nginx and supervisord need a finite number.
MAX_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is declared of a setting besides its name, type and default.

    `about` is its meaning with its unit and reason. The constraint of a table is that of each of its values. The value
    of a `secret` appears in no error text.
    """

    about: str
    after_change: AfterChange
    constraint: Constraint | None
    secret: bool


def setting(
    default: Any, about: str, after_change: AfterChange, constraint: Constraint | None = None, *, secret: bool = False
) -> Any:
    """A dataclass field with its `Declaration`."""
    metadata = {_KEY: Declaration(about, after_change, constraint, secret)}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def declarations(table: type) -> Iterator[tuple[Field[Any], Declaration]]:
    """The settings of a table, in the declared order."""
    for each in fields(table):
        if _KEY in each.metadata:
            yield each, each.metadata[_KEY]
