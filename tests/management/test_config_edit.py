"""A promotion edits models.config as a person would: what is not meant stays as it is."""

import pytest

from wsgiapp.errors import SettingsError
from wsgiapp.management.config_edit import with_label, with_versions
from wsgiapp.tfserving import model_config

TEXT = """# our models
model_config_list {
  config {
    name: "lstm"  # text
    base_path: "/models/lstm#1 {"
    model_platform: "tensorflow"
    version_labels { key: "stable" value: 1 }  # what most clients get
  }
  config: < name: 'sod', base_path: '/models/sod' model_platform: "tensorflow"
            model_version_policy { specific { versions: [1, 2] } } >,
}
"""


def test_a_label_moves() -> None:
    edited = with_label(TEXT, "lstm", "stable", 7)
    assert edited == TEXT.replace('"stable" value: 1', '"stable" value: 7')
    assert with_label(edited, "lstm", "stable", 1) == TEXT


def test_a_new_label_gets_a_line_of_its_own() -> None:
    line = '    version_labels { key: "stable" value: 1 }  # what most clients get\n'
    added = '    version_labels { key: "canary" value: 2 }\n'
    assert with_label(TEXT, "lstm", "canary", 2) == TEXT.replace(line, line + added)


def test_a_label_of_a_config_on_one_line() -> None:
    edited = with_label(TEXT, "sod", 'a "quoted" one', 2)
    models = model_config.models_of(model_config.parse(edited, where="here"), where="here")
    assert models["sod"].labels == {'a "quoted" one': 2}
    assert edited.startswith(TEXT.split("  config: <")[0])


def test_a_policy_is_replaced_or_added() -> None:
    assert with_versions(TEXT, "sod", [2, 3]) == TEXT.replace(
        "{ specific { versions: [1, 2] } }", "{ specific { versions: 2 versions: 3 } }"
    )
    edited = with_versions(TEXT, "lstm", [1, 7])
    assert "    model_version_policy { specific { versions: 1 versions: 7 } }\n" in edited
    assert edited.count("\n") == TEXT.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {", "Error parsing"),
        (TEXT.replace('"lstm"', '"other"'), "no model 'lstm'"),
        (TEXT.replace('"lstm"', '"ls" "tm"'), "edit it by hand"),
        ('model_config_list { config: [{ name: "lstm" }] }', "edit it by hand"),
    ],
)
def test_what_cannot_be_edited_is_left_alone(text: str, message: str) -> None:
    for edit in (lambda: with_label(text, "lstm", "stable", 2), lambda: with_versions(text, "lstm", [2])):
        with pytest.raises(SettingsError, match=message):
            edit()
