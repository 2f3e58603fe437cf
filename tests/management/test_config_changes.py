"""What differs between two configurations, as the audit log has it."""

from wsgiapp.management.config_changes import changes
from wsgiapp.tfserving import model_config

BEFORE = """model_config_list {
  config { name: "same" base_path: "/m/same" }
  config { name: "gone" base_path: "/m/gone" }
  config { name: "moved" base_path: "/m/moved" version_labels { key: "stable" value: 1 }
           model_version_policy { specific { versions: 1 } } }
}"""
AFTER = """model_config_list {
  config { name: "moved" base_path: "/m/moved" version_labels { key: "stable" value: 2 }
           model_version_policy { specific { versions: 1 versions: 2 } } }
  config { name: "new" base_path: "/m/new" }
  config { name: "same" base_path: "/m/same" }
}"""


def test_changes() -> None:
    before, after = (model_config.parse(text, where="test") for text in (BEFORE, AFTER))
    assert changes(before, after) == {
        "gone": {"base_path": ["/m/gone", None], "versions": ["", None], "labels": [{}, None]},
        "moved": {
            "versions": ["specific { versions: 1 }", "specific { versions: 1 versions: 2 }"],
            "labels": [{"stable": 1}, {"stable": 2}],
        },
        "new": {"base_path": [None, "/m/new"], "versions": [None, ""], "labels": [None, {}]},
    }
    assert changes(before, before) == {}
