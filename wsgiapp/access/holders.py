"""`Key` and `Token`: who holds secrets, and what they may do."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from wsgiapp.access.secret import Secret
from wsgiapp.errors import SettingsError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
NORMAL, BATCH = "normal", "batch"
PRIORITIES = (NORMAL, BATCH)
# Where a request's environment has its key.
KEY = "wsgiapp.key"
SCOPES = ("read", "promote", "replace")
MAX_NUMBER = 2**31 - 1  # a day's count has 40 bits
MIN_RATE = 0.001
MAX_ROW = 2**17  # 64 MiB of counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Whoever has a secret; `expires` is the last day that it counts, UTC, and `None` for no end."""

    name: str
    secrets: tuple[Secret, ...]
    expires: datetime.date | None = None

    def has_expired(self, now: float) -> bool:
        """Whether the last day is over at a Unix time."""
        return self.expires is not None and now >= _end_of(self.expires)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file, by its name."""
        expires = {} if self.expires is None else {"expires": self.expires.isoformat()}
        return {"secrets": [secret.as_dict() for secret in self.secrets], **expires}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Holder):
    """A client of predictions.

    `models`: those it may use; empty: all. `rate`: requests a second on average, `burst` at once; 0: any number.
    `daily_quota`: requests from midnight to midnight, UTC; 0: any number. `row`: its place in the file of counts.
    """

    row: int
    models: frozenset[str] = frozenset()
    rate: float = 0.0
    burst: int = 1
    daily_quota: int = 0
    priority: str = NORMAL

    def allows(self, model: str) -> bool:
        """Whether it may use a model."""
        return not self.models or model in self.models

    def as_dict(self) -> dict[str, Any]:
        return {
            **Holder.as_dict(self),
            "row": self.row,
            "models": sorted(self.models),
            "rate": self.rate,
            "burst": self.burst,
            "daily_quota": self.daily_quota,
            "priority": self.priority,
        }

    @classmethod
    def from_dict(cls, name: str, fields: Any) -> Self:
        """Raises `SettingsError`, which names the field and what would be right."""
        known = _known(fields, ("secrets", "expires", "row", "models", "rate", "burst", "daily_quota", "priority"))
        models = known.get("models", [])
        if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
            raise SettingsError("models: not a list of names")
        if known.get("priority", NORMAL) not in PRIORITIES:
            raise SettingsError(f"priority: not {' or '.join(PRIORITIES)}")
        rate = _number(known, "rate", 0, float)
        if 0 < rate < MIN_RATE:
            raise SettingsError(f"rate: neither 0 nor at least {MIN_RATE}")
        return cls(
            **_held(name, known),
            row=_number(known, "row", 1, int, MAX_ROW),
            models=frozenset(models),
            rate=rate,
            burst=_number(known, "burst", 1, int),
            daily_quota=_number(known, "daily_quota", 0, int),
            priority=known.get("priority", NORMAL),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Holder):
    """Who manages the models, within its scopes."""

    scopes: frozenset[str]

    def as_dict(self) -> dict[str, Any]:
        return {**Holder.as_dict(self), "scopes": sorted(self.scopes)}

    @classmethod
    def from_dict(cls, name: str, fields: Any) -> Self:
        """Raises `SettingsError`, which names the field and what would be right."""
        known = _known(fields, ("secrets", "expires", "scopes"))
        scopes = known.get("scopes")
        if not isinstance(scopes, list) or not scopes or not all(scope in SCOPES for scope in scopes):
            raise SettingsError(f"scopes: not a list of some of {', '.join(SCOPES)}")
        return cls(**_held(name, known), scopes=frozenset(scopes))


def parse_date(text: str) -> datetime.date:
    """A date as it stands in the file. Raises `SettingsError`."""
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError) as exc:
        raise SettingsError("expires: not a date like 2027-12-31") from exc


def _known(fields: Any, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(fields, dict):
        raise SettingsError("not an object with named fields")
    for name in fields:
        if name not in names:
            raise SettingsError(f"{name}: no such field; there are {', '.join(names)}")
    return fields


def _held(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    if not NAME.fullmatch(name):
        raise SettingsError("not a name (at most 64 letters, digits, `_`, `-`, `.`, `@`)")
    secrets = fields.get("secrets")
    if not isinstance(secrets, list):
        raise SettingsError("secrets: not a list")
    expires = None if fields.get("expires") is None else parse_date(fields["expires"])
    return {"name": name, "secrets": tuple(map(Secret.from_dict, secrets)), "expires": expires}


def _number(fields: Mapping[str, Any], name: str, minimum: int, kind: type, maximum: int = MAX_NUMBER) -> Any:
    value = fields.get(name, minimum)
    is_number = type(value) is int or (kind is float and type(value) is float)
    if not is_number or not minimum <= value <= maximum:
        raise SettingsError(f"{name}: not a {'whole ' if kind is int else ''}number from {minimum} to {maximum}")
    return kind(value)


def _end_of(day: datetime.date) -> float:
    midnight = datetime.datetime.combine(day, datetime.time(), datetime.UTC)
    return (midnight + datetime.timedelta(days=1)).timestamp() if day < datetime.date.max else float("inf")
