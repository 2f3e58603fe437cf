"""Secrets stand in no file that is made of the settings, and the model server does not get them."""

from pathlib import Path

import pytest

from support.stack import RunningStack
from wsgiapp.deployment.render import render
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.started import Started

SECRET = "s3cret-of-the-operator"  # noqa: S105


@pytest.mark.parametrize("server", ["builtin", "uwsgi"])
def test_no_rendered_file_has_the_token(tmp_path: Path, server: str) -> None:
    environ = {"WSGIAPP_HOME": str(tmp_path), "WSGIAPP_MANAGEMENT_TOKEN": SECRET, "WSGIAPP_APP_SERVER": server}
    settings = load_settings(environ)
    render(settings)
    Started.now(settings, environ).write(settings.run)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"supervisord.conf", "nginx.conf", "started.json"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_the_model_server_is_started_without_the_token(stack: RunningStack) -> None:
    """A model may read what its process can read."""
    environ = Path(f"/proc/{stack.pids()['modelserver']}/environ").read_bytes().split(b"\0")
    assert b"WSGIAPP_MANAGEMENT_TOKEN=" in environ
