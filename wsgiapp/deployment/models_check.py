"""The models, looked at before processes are started or stopped: what can never become ready is said at once."""

from pathlib import Path

from wsgiapp.errors import RequestError, StackError
from wsgiapp.management import settings_check
from wsgiapp.management.config_check import Finding
from wsgiapp.management.models_file import ModelsFile
from wsgiapp.settings.schema import Settings
from wsgiapp.tfserving import model_config


def check_before_start(settings: Settings) -> list[str]:
    """The check that `wsgiapp models check` does; its errors that do not keep the service from becoming ready.

    Raises `StackError` for those that do. Of a model server of the operator's, which has files of its own, nothing is
    known.
    """
    if settings.app.backend == "external":
        return []
    file = ModelsFile(settings)
    findings = settings_check.check(settings, file.parse(file.read()))
    _require_ready(findings, settings, str(file.path))
    return _errors(findings, file.path)


def check_before_restart(settings: Settings) -> list[str]:
    """The same for a model server that runs: what tables ask for must be in the configuration that it has.

    What is wrong with `conf/models.config` keeps nothing from restarting: it is not active yet.
    """
    if settings.app.backend == "external":
        return []
    file = ModelsFile(settings)
    if file.rendered_path.exists():
        active = model_config.read(file.rendered_path)
        missing = list(settings_check.check_tables(settings.models, active))
        _require_ready(missing, settings, f"what is active; `wsgiapp models reload` applies {file.path}")
    try:
        return _errors(settings_check.check(settings, file.parse(file.read())), file.path)
    except RequestError as exc:
        return [f"not active: {exc}"]


def _errors(findings: list[Finding], path: Path) -> list[str]:
    return [f"{path}: {finding}" for finding in findings if finding.is_error]


def _require_ready(findings: list[Finding], settings: Settings, configuration: str) -> None:
    reasons = settings_check.keeps_unready(findings, settings.models)
    if reasons:
        raise StackError("\n".join([f"the service cannot become ready with {configuration}:", *reasons]))
