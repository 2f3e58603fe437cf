"""models.config is read as TF Serving reads it, and rejected with reasons."""

from pathlib import Path

import pytest

from support.processes import REPOSITORY, SHARED_DATA
from wsgiapp.errors import SettingsError
from wsgiapp.tfserving.model_config import ModelConfig, models_of, read, single_model


def parse(tmp_path: Path, text: str) -> dict[str, ModelConfig]:
    path = tmp_path / "models.config"
    path.write_text(text)
    return models_of(read(path), where=str(path))


def one(tmp_path: Path, more: str = "") -> ModelConfig:
    text = f'model_config_list {{ config {{ name: "m", base_path: "/m", model_platform: "tensorflow" {more} }} }}'
    return parse(tmp_path, text)["m"]


def test_policies(tmp_path: Path) -> None:
    assert one(tmp_path) == ModelConfig("m", Path("/m"))
    assert one(tmp_path, "model_version_policy { latest { num_versions: 3 } }").latest == 3
    assert one(tmp_path, "model_version_policy { latest { num_versions: 0 } }").latest == 1
    assert one(tmp_path, "model_version_policy: { all: {} }").latest == 0
    specific = one(tmp_path, "model_version_policy { specific { versions: 4 versions: 2 } }")
    assert (specific.latest, specific.specific) == (0, {2, 4})


def test_the_deprecated_field_for_the_platform(tmp_path: Path) -> None:
    text = 'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }'
    assert parse(tmp_path, text) == {"m": ModelConfig("m", Path("/m"))}


def test_labels(tmp_path: Path) -> None:
    labels = "version_labels { key: 'stable' value: 1 } version_labels { key: 'canary' value: 2 }"
    assert one(tmp_path, labels).labels == {"stable": 1, "canary": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ("improperly formatted file", "Error parsing text-format tensorflow.serving.ModelServerConfig"),
        ('model_config_list { config { base_path: "/m" } }', "has no name"),
        ('model_config_list { config { name: "m" base_path: "m" model_platform: "tensorflow" } }', "not an absolute"),
        ('model_config_list { config { name: "m" base_path: "s3://b/m" model_platform: "tensorflow" } }', "is a URI"),
        (
            'model_config_list { config { name: "m" base_path: "/m" } }',
            "setting neither .* nor .*model_platform",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" model_type: OTHER } }',
            "Illegal setting both",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_platform: "caffe" } }',
            "model_platform 'caffe' is not 'tensorflow'",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_platform: "tensorflow" '
            "model_version_policy { specific {} } } }",
            "specific lists no versions",
        ),
        (
            "model_config_list {" + 2 * 'config { name: "m" base_path: "/m" model_platform: "tensorflow" }' + "}",
            "twice",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(tmp_path, text)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        read(tmp_path / "nowhere")


@pytest.mark.skipif(not SHARED_DATA.exists(), reason="the shared data are not here")
def test_a_known_bad_file() -> None:
    with pytest.raises(SettingsError, match="Error parsing text-format"):
        read(SHARED_DATA / "tfserving" / "bad_model_config.txt")


def test_the_shipped_file_is_right(tmp_path: Path) -> None:
    text = (REPOSITORY / "conf" / "models.config").read_text().replace("@{models}", "/models")
    assert set(parse(tmp_path, text)) == {"lstm", "cv_sod"}


def test_a_single_model() -> None:
    assert models_of(single_model("m", "/m"), where="") == {"m": ModelConfig("m", Path("/m"))}
