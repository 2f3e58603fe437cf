"""What the gateway asks for and no model server is configured to have, and what keeps `/readyz` from saying yes."""

from pathlib import Path
from typing import Any

import pytest

from wsgiapp.management.config_check import Finding
from wsgiapp.management.settings_check import check, check_tables, keeps_unready
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.tables.models import Model
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelServerConfig, SavedModel


def config(base: Path | str, more: str = "") -> ModelServerConfig:
    text = f'config {{ name: "m" base_path: "{base}" model_platform: "tensorflow" {more} }}'
    return model_config.parse(f"model_config_list {{ {text} }}", where="test")


def table(name: str = "m", **asked: Any) -> dict[str, Model]:
    return {name: Model(name=name, pipeline="segmented_text", **asked)}


STABLE = "version_labels { key: 'stable' value: 1 }"


@pytest.mark.parametrize(
    ("tables", "more", "text"),
    [
        (table("x"), "", "x: in wsgiapp.toml, but not in models.config"),
        (
            table(label="canary"),
            STABLE,
            "m: wsgiapp.toml asks for the label 'canary', which models.config does not have; it has stable",
        ),
        (
            table(split={"stable": 9, "next": 1}),
            STABLE,
            "m: wsgiapp.toml asks for the label 'next', which models.config does not have; it has stable",
        ),
        (
            table(version=3),
            "model_version_policy { specific { versions: 1 versions: 2 } }",
            "m: wsgiapp.toml asks for version 3, but the version policy loads 1, 2 alone",
        ),
    ],
)
def test_what_no_model_has(tables: dict[str, Model], more: str, text: str) -> None:
    findings = list(check_tables(tables, config("/x", more)))
    assert [(each.is_error, each.text, each.keeps_unready) for each in findings] == [(False, text, True)]


@pytest.mark.parametrize("asked", [{}, {"label": "stable"}, {"split": {"stable": 1}}, {"version": 7}])
def test_what_is_there_or_may_come(asked: dict[str, Any]) -> None:
    assert list(check_tables(table(**asked), config("/x", STABLE))) == []


def put(version: Path, content: bytes) -> None:
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(content)


def saved_model() -> bytes:
    message = SavedModel()
    message.meta_graphs.add().meta_info_def.tags.append("serve")
    return message.SerializeToString()


def findings_of(folder: Path, base: Path | str, more: str = "") -> list[Finding]:
    (folder / "wsgiapp.toml").write_text('[models.m]\npipeline = "segmented_text"\n')
    settings = load_settings({"WSGIAPP_CONF": str(folder), "WSGIAPP_HOME": str(folder)})
    return check(settings, config(base, more))


def test_a_broken_version_beside_a_good_one_keeps_nothing_back(tmp_path: Path) -> None:
    put(tmp_path / "m/1", saved_model())
    put(tmp_path / "m/2", b"\xff")
    both = findings_of(tmp_path, tmp_path / "m", "model_version_policy { all {} }")
    assert any(each.is_error for each in both) and keeps_unready(both, table()) == []


def test_what_keeps_the_service_from_becoming_ready(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    missing = findings_of(tmp_path, "/no/such")
    assert keeps_unready(missing, table()) == ["m: base_path /no/such: No such file or directory"]
    assert keeps_unready(missing, table("other")) == [], "no table, so that /readyz does not wait for it"
    assert keeps_unready(missing, {}) != [], "without any table it waits for all models"
    empty = keeps_unready(findings_of(tmp_path, tmp_path / "empty"), table())
    assert empty == [f"m: {tmp_path}/empty holds no version directory; put the model into {tmp_path}/empty/1"]
    put(tmp_path / "m/1", saved_model())
    ahead = keeps_unready(findings_of(tmp_path, tmp_path / "m", "version_labels { key: 'l' value: 2 }"), table())
    assert ahead == ["m: label 'l' points at version 2, which is not there"]


def test_a_version_that_may_still_be_copied_is_waited_for(tmp_path: Path) -> None:
    put(tmp_path / "m/1", b"\xff")
    just_now = findings_of(tmp_path, tmp_path / "m")
    assert any(each.is_error for each in just_now) and keeps_unready(just_now, table()) == []
