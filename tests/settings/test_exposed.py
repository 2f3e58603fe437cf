"""A secret in a file that everybody can read is pointed out."""

from pathlib import Path

from wsgiapp.settings.exposed import exposed
from wsgiapp.settings.loading import load_settings


def test_a_token_in_a_file_for_everybody(tmp_path: Path) -> None:
    file = tmp_path / "wsgiapp.toml"
    file.write_text('[management]\ntoken = "s3cret"\n')
    settings = load_settings({"WSGIAPP_CONF": str(tmp_path), "WSGIAPP_HOME": str(tmp_path)})
    file.chmod(0o644)
    (line,) = exposed(settings, frozenset())
    assert line.startswith(f"{file}: everybody on this machine can read management.token") and "s3cret" not in line
    assert exposed(settings, frozenset({"WSGIAPP_MANAGEMENT_TOKEN"})) == []
    file.chmod(0o640)
    assert exposed(settings, frozenset()) == []
    file.chmod(0o644)
    file.write_text("")
    settings = load_settings({"WSGIAPP_CONF": str(tmp_path), "WSGIAPP_HOME": str(tmp_path)})
    assert exposed(settings, frozenset()) == []
