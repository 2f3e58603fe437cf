"""The command's own words; what it does to processes is tested with the stack."""

import subprocess
import sys
from pathlib import Path

import pytest

from wsgiapp import __version__
from wsgiapp.cli.__main__ import main


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, expected in (("--version", __version__), ("--help", "restart the workers one by one")):
        with pytest.raises(SystemExit) as caught:
            main([argument])
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out


def test_settings_reference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert "| `http.port` | `8080` | TCP port to listen on |" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "status"), [("down", 0), ("status", 3), ("restart", 1), ("logs", 1)])
def test_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, status: int
) -> None:
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path))
    assert main([command]) == status
    assert "Traceback" not in capsys.readouterr().err


def test_render_writes_what_others_start_with_and_leaves_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path))
    monkeypatch.setenv("WSGIAPP_APP_SERVER", "uwsgi")
    assert main(["render"]) == 0
    printed = capsys.readouterr().out.split()
    assert {f"{tmp_path}/run/{name}" for name in ("supervisord.conf", "uwsgi.ini", "models.config")} <= set(printed)
    (tmp_path / "run/models.config").write_text("taken")
    assert main(["render"]) == 0
    assert (tmp_path / "run/models.config").read_text() == "taken"


def test_a_wrong_setting_is_said_plainly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WSGIAPP_HTTP_PORT", "eighty")
    assert main(["up"]) == 1
    assert 'wsgiapp: WSGIAPP_HTTP_PORT = "eighty": not a whole number' in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["settings", "--help", "capacity --page-views 5000000 --rate 100"])
def test_a_reader_that_has_seen_enough(arguments: str) -> None:
    """As `wsgiapp settings | head -0` has it: the reader is gone before anything is printed."""
    command = f"{sys.executable} -m wsgiapp.cli {arguments}"
    script = f"({command}; echo status $? >&2) | :"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert done.stderr in ("status 141\n", "status 0\n")
