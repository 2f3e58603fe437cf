"""`wsgiapp keys ...` and `wsgiapp tokens ...`: who may ask for predictions, and who may manage the models."""

import math
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from wsgiapp.access.counts import Counts
from wsgiapp.access.credentials_file import Credentials, CredentialsFile
from wsgiapp.access.holders import NORMAL, PRIORITIES, SCOPES, Holder, Key, Token, parse_date
from wsgiapp.access.secret import KEY_PREFIX, TOKEN_PREFIX, Secret, new_text
from wsgiapp.cli.models import print_table
from wsgiapp.cli.parsing import add_command
from wsgiapp.errors import SettingsError
from wsgiapp.observability.audit_log import Actor, AuditLog
from wsgiapp.settings.declaration import MAX_SECONDS
from wsgiapp.settings.schema import Settings

PREFIXES = {"keys": KEY_PREFIX, "tokens": TOKEN_PREFIX}
HEADINGS = {
    "keys": ("KEY", "MODELS", "RATE", "BURST", "TODAY", "QUOTA", "PRIORITY", "EXPIRES"),
    "tokens": ("TOKEN", "SCOPES", "EXPIRES"),
}


def add_parser(commands: Any) -> None:
    """Add `keys` and `tokens` to the parser of the `wsgiapp` command."""
    add = _add_actions(commands, "keys", "API keys: who may ask for predictions, of which models, how often")
    add.add_argument("--model", action="append", default=[], help="a model it may use; again for more; default: all")
    add.add_argument("--rate", type=float, default=0, help="requests a second on average; default: any number")
    add.add_argument("--burst", type=int, help="requests at once; default: those of two seconds")
    add.add_argument("--daily-quota", type=int, default=0, help="requests a day, UTC; default: any number")
    add.add_argument("--priority", choices=PRIORITIES, default=NORMAL, help="batch: rejected before others are")
    add = _add_actions(commands, "tokens", "tokens of /v1/config: who may look at the models, and change them")
    add.add_argument("--scope", action="append", choices=SCOPES, required=True, help="again for more")


def _add_actions(commands: Any, kind: str, about: str) -> ArgumentParser:
    actions = commands.add_parser(kind, help=about, description=about).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    one = kind[:-1]
    add = add_command(actions, "add", partial(_add, kind), f"make a {one} and print it, once: only its hash is kept")
    add.add_argument("name", help="whose it is; it stands in logs and metrics")
    add.add_argument("--expires", metavar="YYYY-MM-DD", help="the last day that it counts, UTC; default: none")
    add_command(actions, "list", partial(_list, kind), f"one line a {one}")
    revoke = add_command(actions, "revoke", partial(_revoke, kind), f"a {one} counts no more, within a second")
    revoke.add_argument("name")
    rotate = add_command(
        actions, "rotate", partial(_rotate, kind), f"print a new secret of a {one}, and end the old one"
    )
    rotate.add_argument("name")
    rotate.add_argument(
        "--grace", type=float, default=0, metavar="SECONDS", help="the old one counts so long; default: 0"
    )
    return add


def _add(kind: str, settings: Settings, arguments: Namespace) -> int:
    text = new_text(PREFIXES[kind])
    with _changed(settings, kind, "add", arguments.name) as credentials:
        holders: dict[str, Any] = getattr(credentials, kind)
        if arguments.name in holders:
            raise SettingsError(f"{kind}: {arguments.name!r} is there already; `rotate` gives it a new secret")
        fields = {"secrets": [Secret.of(text).as_dict()], "expires": arguments.expires}
        try:
            holders[arguments.name] = _made(kind, arguments, fields, credentials)
        except SettingsError as exc:
            raise SettingsError(f"{arguments.name}: {exc}") from exc
    print(text)
    return 0


def _made(kind: str, arguments: Namespace, fields: dict[str, Any], credentials: Credentials) -> Holder:
    if arguments.expires is not None:
        parse_date(arguments.expires)
    if kind == "tokens":
        return Token.from_dict(arguments.name, {**fields, "scopes": arguments.scope})
    row, credentials.next_row = credentials.next_row, credentials.next_row + 1
    return Key.from_dict(
        arguments.name,
        {
            **fields,
            "row": row,
            "models": arguments.model,
            "rate": arguments.rate,
            "burst": _burst(arguments.rate) if arguments.burst is None else arguments.burst,
            "daily_quota": arguments.daily_quota,
            "priority": arguments.priority,
        },
    )


def _burst(rate: float) -> int:
    """What comes in two seconds; of a rate that will be rejected any."""
    return max(1, math.ceil(2 * rate)) if math.isfinite(rate) else 1


def _list(kind: str, settings: Settings, arguments: Namespace) -> int:
    credentials = CredentialsFile(settings.credentials_file).read()
    rows: list[tuple[str, ...]] = [HEADINGS[kind]]
    if kind == "tokens":
        for token in credentials.tokens.values():
            rows.append((token.name, ",".join(sorted(token.scopes)), _expiry(token)))
    elif credentials.keys:
        counts = Counts(settings.counts_file, credentials.rows)
        for key in credentials.keys.values():
            today = str(counts.of_today(key.row))
            limits = (f"{key.rate:g}/s" if key.rate else "-", str(key.burst) if key.rate else "-", today)
            quota = str(key.daily_quota or "-")
            rows.append((key.name, ",".join(sorted(key.models)) or "all", *limits, quota, key.priority, _expiry(key)))
    print_table(rows)
    return 0


def _revoke(kind: str, settings: Settings, arguments: Namespace) -> int:
    with _changed(settings, kind, "revoke", arguments.name) as credentials:
        _holder(credentials, kind, arguments.name)
        del getattr(credentials, kind)[arguments.name]
    print(f"{arguments.name} is revoked")
    return 0


def _rotate(kind: str, settings: Settings, arguments: Namespace) -> int:
    if not 0 <= arguments.grace <= MAX_SECONDS:
        raise SettingsError(f"--grace {arguments.grace:g}: not between 0 and {MAX_SECONDS} seconds")
    text, now = new_text(PREFIXES[kind]), time.time()
    with _changed(settings, kind, "rotate", arguments.name) as credentials:
        holder = _holder(credentials, kind, arguments.name)
        ended = now + arguments.grace
        old = [secret for secret in holder.secrets if secret.until is None] if arguments.grace > 0 else []
        kept = tuple(replace(secret, until=ended) for secret in old)
        getattr(credentials, kind)[arguments.name] = replace(holder, secrets=(*kept, Secret.of(text)))
    print(text)
    return 0


def _holder(credentials: Credentials, kind: str, name: str) -> Holder:
    holders: dict[str, Holder] = getattr(credentials, kind)
    if name not in holders:
        raise SettingsError(f"{kind}: no {name!r}; there are {', '.join(holders) or 'none'}")
    return holders[name]


@contextmanager
def _changed(settings: Settings, kind: str, action: str, name: str) -> Iterator[Credentials]:
    """The credentials to be changed, with a line in the audit log."""
    audit = AuditLog(settings.logs, settings.log.max_bytes, settings.log.backups)
    with (
        audit.change(Actor.local(), f"{kind} {action}", holder=name),
        CredentialsFile(settings.credentials_file).changed() as credentials,
    ):
        yield credentials


def _expiry(holder: Holder) -> str:
    if holder.expires is None:
        return "-"
    return f"{holder.expires}{' (over)' if holder.has_expired(time.time()) else ''}"
