"""`models.config` and the tables of `wsgiapp.toml` side by side: what the gateway asks for must be configured."""

from collections.abc import Iterator, Mapping

from wsgiapp.management import config_check
from wsgiapp.management.config_check import Finding
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.tables.models import Model
from wsgiapp.tfserving.messages import ModelServerConfig


def check(settings: Settings, config: ModelServerConfig, active: ModelServerConfig | None = None) -> list[Finding]:
    """The findings for a configuration and for the tables; `active` is the active configuration, if there is one."""
    # A TensorFlow Serving of the operator's may have its models on another machine.
    folders_are_here = settings.app.backend != "external"
    findings = config_check.check(config, active, with_folders=folders_are_here)
    return [*findings, *check_tables(settings.models, config)]


def check_tables(tables: Mapping[str, Model], config: ModelServerConfig) -> Iterator[Finding]:
    """What tables ask for and a configuration does not have.

    No errors: the model server serves what it is configured to, and a label may come with a promotion.
    """
    configured = {each.name: each for each in config.model_config_list.config}
    for name, table in tables.items():
        model = configured.get(name)
        if model is None:
            yield _unserved(name, f"{name}: in wsgiapp.toml, but not in models.config")
            continue
        for label in [table.label] if table.label else table.split:
            if label not in model.version_labels:
                has = ", ".join(sorted(model.version_labels)) or "none"
                where = f"{name}: wsgiapp.toml asks for the label {label!r}"
                yield _unserved(name, f"{where}, which models.config does not have; it has {has}")
        specific = model.model_version_policy.specific.versions
        if table.version is not None and specific and table.version not in specific:
            have = ", ".join(map(str, specific))
            where = f"{name}: wsgiapp.toml asks for version {table.version}"
            yield _unserved(name, f"{where}, but the version policy loads {have} alone")


def keeps_unready(findings: list[Finding], tables: Mapping[str, Model]) -> list[str]:
    """Those that keep the gateway's `/readyz` from saying yes: of models that have a table, where any has one."""
    return [
        finding.text
        for finding in findings
        if finding.keeps_unready and (not tables or not finding.model or finding.model in tables)
    ]


def _unserved(model: str, text: str) -> Finding:
    return Finding(False, text, model, keeps_unready=True)
