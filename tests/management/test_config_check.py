"""The check finds what a model server would trip over later."""

import os
import shutil
import time
from pathlib import Path

import pytest

from wsgiapp.management.config_check import Finding, check
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelServerConfig, SavedModel


@pytest.fixture
def base(tiny_versions: dict[int, Path], tmp_path: Path) -> Path:
    """A model's folder with versions 1 and 2, long in place."""
    for version, source in tiny_versions.items():
        shutil.copytree(source, tmp_path / "m" / str(version))
    age(tmp_path)
    return tmp_path / "m"


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 3600, time.time() - 3600))


def config_of(base: Path | str, more: str = "", platform: str = "tensorflow") -> ModelServerConfig:
    text = f'config {{ name: "m" base_path: "{base}" model_platform: "{platform}" {more} }}'
    return model_config.parse(f"model_config_list {{ {text} }}", where="test")


def texts(findings: list[Finding], *, errors: bool = True) -> list[str]:
    return [finding.text for finding in findings if finding.is_error is errors]


ALL = "model_version_policy { all {} }"
LATEST = "model_version_policy { latest { num_versions: 2 } }"


@pytest.mark.parametrize("more", ["", ALL, f"{ALL} version_labels {{ key: 'stable' value: 1 }}"])
def test_nothing_wrong(base: Path, more: str) -> None:
    assert check(config_of(base, more), config_of(base)) == []


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("version_labels { key: 'ahead' value: 9 }", "label 'ahead' points at version 9, which is not there"),
        ("version_labels { key: 'old' value: 1 }", "which the version policy does not load"),
        ("model_version_policy { specific { versions: 9 } }", "version 9 is asked for, but there is no such directory"),
    ],
)
def test_labels_and_policies(base: Path, more: str, error: str) -> None:
    found = texts(check(config_of(base, more), None))
    assert len(found) == 1 and found[0].startswith("m: ") and error in found[0]


def test_what_may_go_wrong_later(base: Path) -> None:
    findings = check(config_of(base, f"{LATEST} version_labels {{ key: 'stable' value: 1 }}"), None)
    assert texts(findings) == []
    assert "unloads when newer ones come" in texts(findings, errors=False)[0]
    some = check(config_of(base, "model_version_policy { specific { versions: 2 versions: 9 } }"), None)
    assert "version 9 is asked for" in texts(some, errors=False)[0]
    assert texts(check(ModelServerConfig(), None), errors=False) == ["no model is configured"]


def test_what_the_model_server_would_reject(base: Path) -> None:
    twice = config_of(base)
    twice.model_config_list.config.append(twice.model_config_list.config[0])
    assert texts(check(twice, None)) == ["m: configured 2 times; names must be unique"]
    assert "not an absolute path" in texts(check(config_of("models/m"), None))[0]
    assert "base_path" in texts(check(config_of(base / "nowhere"), None))[0]
    (base / "empty").mkdir()
    assert "holds no version directory" in texts(check(config_of(base / "empty"), None))[0]
    assert "cannot be changed by a reload" in texts(check(config_of(base), config_of(base, platform="other")))[0]


def test_half_copied_versions(base: Path) -> None:
    version = base / "2"

    def damage(error: str) -> None:
        age(base)
        found = check(config_of(base), None)
        assert len(found) == 1 and found[0].is_error and error in found[0].text, found
        assert found[0].text.startswith("m: version 2: ")

    shard = version / "variables/variables.data-00000-of-00001"
    shard.rename(version / "aside")
    damage("files of variables/ are missing")
    (version / "aside").rename(shard)
    (version / "variables/variables.index").unlink()
    damage("files of variables/ are missing")
    whole = (version / "saved_model.pb").read_bytes()
    shutil.rmtree(version / "variables")
    damage("the model has variables, but variables/ is missing; copied half?")
    (version / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    damage("saved_model.pb")
    (version / "saved_model.pb").write_bytes(b"")
    damage("saved_model.pb: holds no graph")
    (version / "saved_model.pb").unlink()
    damage("it has no saved_model.pb")


def test_a_model_without_variables_needs_no_files_of_them(base: Path) -> None:
    file = base / "2/saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    graph = model.meta_graphs[0].graph_def
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            node.op = "NoOp" if node.op == "VarHandleOp" else node.op
    file.write_bytes(model.SerializeToString())
    shutil.rmtree(base / "2/variables")
    age(base)
    assert check(config_of(base), None) == []


def test_a_version_that_is_being_copied(base: Path) -> None:
    (base / "2" / "saved_model.pb").touch()
    findings = check(config_of(base), None)
    assert texts(findings) == []
    assert "still being copied?" in texts(findings, errors=False)[0]
