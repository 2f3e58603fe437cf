"""`wsgiapp models ...`: look at the models and change them from the command line."""

import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from wsgiapp.backend.model_server import ModelServer
from wsgiapp.cli.parsing import add_command
from wsgiapp.errors import NotFound
from wsgiapp.management.config_check import Finding
from wsgiapp.management.config_watch import DEFAULT_POLL_SECONDS, ConfigWatch
from wsgiapp.management.control_plane import ControlPlane, ModelOverview
from wsgiapp.observability import logs
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.started import Started
from wsgiapp.tfserving import saved_model_show, version_dirs
from wsgiapp.tfserving.messages import ModelVersionStatus

State = ModelVersionStatus.State
Row = tuple[str, ...]


def add_parser(commands: Any) -> None:
    """Add `models` and what it can do to the parser of the `wsgiapp` command."""
    about = "look at the models, and change what is loaded"
    models = commands.add_parser("models", help=about, description=about)
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")

    add = partial(add_command, actions)

    add("list", _list, "one line a model: its versions that serve, its labels, its folder")
    status = add("status", _status, "one line a version; the exit status is 1 where a model has none that serves")
    status.add_argument("model", nargs="?", help="this one only")
    add("check", _check, "look for mistakes in models.config and in the folders it names; exit status 1 on errors")
    reload = add("reload", _reload, "apply models.config, if it passes the check")
    reload.add_argument("--force", action="store_true", help="also where the check finds errors")
    add("watch", _watch, "apply models.config whenever it has changed, until it is ended")
    show = add("show", _show, "print a SavedModel's signatures, as `saved_model_cli show --all` does")
    show.add_argument("directory", type=Path, help="a version directory")
    promote = add("promote", _promote, "load a version, wait until it is AVAILABLE, and move a label to it")
    promote.add_argument("model")
    promote.add_argument("version", type=int)
    promote.add_argument("--label", required=True, help="the label to move, such as stable")


def _list(settings: Settings, arguments: Namespace) -> int:
    rows: list[Row] = [("MODEL", "VERSIONS", "LABELS", "BASE PATH")]
    with _control(settings) as control:
        for model in control.models():
            serving = [each.version for each in model.versions if each.state == State.AVAILABLE]
            labels = [f"{label}={version}" for label, version in sorted(model.labels.items())]
            rows.append((model.name, _joined(sorted(serving)), _joined(labels), model.base_path))
    print_table(rows)
    return 0


def _status(settings: Settings, arguments: Namespace) -> int:
    rows: list[Row] = [("MODEL", "VERSION", "STATE", "LABELS", "ERROR")]
    with _control(settings) as control:
        models = [each for each in control.models() if arguments.model in (None, each.name)]
    if not models:
        raise NotFound(f"model {arguments.model!r} is not configured" if arguments.model else "no model is configured")
    for model in models:
        rows += _status_rows(model, _without_deleted(model, settings))
    print_table(rows)
    return 0 if all(any(each.state == State.AVAILABLE for each in model.versions) for model in models) else 1


def _without_deleted(model: ModelOverview, settings: Settings) -> list[ModelVersionStatus]:
    """The versions but those that have ended and have no directory any more: a model server remembers them for good."""
    if settings.app.backend == "external":  # its folders may be on another machine
        return model.versions
    try:
        found = set(version_dirs.find_versions(Path(model.base_path)))
    except OSError:
        found = set()
    return [each for each in model.versions if each.state != State.END or each.version in found]


def _status_rows(model: ModelOverview, versions: list[ModelVersionStatus]) -> list[Row]:
    if not versions:
        return [(model.name, "-", "-", "-", f"no version found in {model.base_path}")]
    return [
        (
            model.name,
            str(each.version),
            State.Name(each.state),
            _joined([label for label, version in model.labels.items() if version == each.version]),
            each.status.error_message,
        )
        for each in versions
    ]


def _check(settings: Settings, arguments: Namespace) -> int:
    with _control(settings) as control:
        findings = control.check()
    _print_findings(findings)
    errors = sum(finding.is_error for finding in findings)
    print(f"{settings.conf / 'models.config'}: {errors} errors, {len(findings) - errors} warnings")
    return 1 if errors else 0


def _reload(settings: Settings, arguments: Namespace) -> int:
    with _control(settings) as control:
        findings = control.reload(force=arguments.force)
    _print_findings(findings)
    print(f"{settings.conf / 'models.config'} is active")
    return 0


def _watch(settings: Settings, arguments: Namespace) -> int:
    logs.configure(settings.log.level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # what is being applied is applied to its end
        signal.signal(number, lambda *_: stop.set())
    with _control(settings) as control:
        watch = ConfigWatch(control, settings)
        while not stop.is_set():
            watch.poll()
            stop.wait(settings.backend.config_poll_seconds or DEFAULT_POLL_SECONDS)
    return 0


def _promote(settings: Settings, arguments: Namespace) -> int:
    with _control(settings) as control:
        before = control.promote(arguments.model, arguments.version, arguments.label)
    was = "it is new" if before is None else f"it was on {before}"
    print(f"{arguments.model}: label {arguments.label} is on version {arguments.version} now; {was}")
    return 0


def _show(settings: Settings, arguments: Namespace) -> int:
    print(saved_model_show.describe(arguments.directory))
    return 0


@contextmanager
def _control(settings: Settings) -> Iterator[ControlPlane]:
    started = Started.read(settings.run)
    address = (started.applied(settings) if started else settings).backend.call_address
    backend = ModelServer(address, message_bytes=settings.backend.message_bytes)
    try:
        yield ControlPlane(settings, backend)
    finally:
        backend.close()


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        print(finding)


def print_table(rows: list[Row]) -> None:
    """Rows of cells below their headings, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _joined(values: list[Any]) -> str:
    return ",".join(map(str, values)) or "-"
