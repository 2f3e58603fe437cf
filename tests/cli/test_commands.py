"""The command's own words; what it does to processes is tested with the stack."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import REPOSITORY, free_port
from wsgiapp import __version__
from wsgiapp.cli.__main__ import main
from wsgiapp.tfserving.messages import SavedModel


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


UNREADY = [
    ("models.config", '"@{models}/lstm"', '"/no/such"', "lstm: base_path /no/such: No such file or directory"),
    ("wsgiapp.toml", "[models.lstm]", "[models.other]", "other: in wsgiapp.toml, but not in models.config"),
    (
        "wsgiapp.toml",
        "[models.lstm]",
        '[models.lstm]\nlabel = "canary"',
        "lstm: wsgiapp.toml asks for the label 'canary', which models.config does not have; it has none",
    ),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder that nothing runs in, with the repository's configuration."""
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    for model in ("lstm", "cv_sod"):
        version = tmp_path / f"models/{model}/1"
        version.mkdir(parents=True)
        message = SavedModel()
        message.meta_graphs.add().meta_info_def.tags.append("serve")
        (version / "saved_model.pb").write_bytes(message.SerializeToString())
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path))
    monkeypatch.setenv("WSGIAPP_CONF", str(tmp_path / "conf"))
    return tmp_path


@pytest.mark.parametrize(("file", "old", "new", "reason"), UNREADY, ids=["base path", "model", "label"])
def test_up_stops_at_once_where_the_service_can_never_be_ready(
    home: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, reason: str
) -> None:
    path = home / "conf" / file
    path.write_text(path.read_text().replace(old, new, 1))
    if file == "wsgiapp.toml":
        path.write_text(path.read_text().replace('default_model = "lstm"', ""))
    assert main(["up"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == [f"wsgiapp: the service cannot become ready with {home}/conf/models.config:", reason]
    assert not (home / "run").exists(), "nothing was started"


def test_a_typo_in_models_config_is_where_the_operator_looks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "conf/models.config"
    path.write_text(path.read_text().replace("name:", "nam:", 1))
    line = path.read_text().splitlines().index('    nam: "lstm"') + 1
    for command in ("up", "models check"):
        assert main(command.split()) == 1
        assert f"{path}:{line}:5 : Message type" in capsys.readouterr().err


def test_a_broken_file_of_keys_stops_up_before_anything_is_started(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", "add", "shop"]) == 0
    (home / "access/keys.json").chmod(0o644)
    assert main(["up"]) == 1
    assert f"chmod 600 {home}/access/keys.json" in capsys.readouterr().err
    assert not (home / "run").exists()


def test_a_wrong_nginx_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = home / "script"
    script.write_text("no program")
    script.chmod(0o755)
    for binary, words in (
        ("/no/such/nginx", 'nginx.binary = "/no/such/nginx": no such program'),
        ("true", "is not Nginx: it checks no configuration"),
        (str(script), "Exec format error"),
    ):
        monkeypatch.setenv("WSGIAPP_NGINX_BINARY", binary)
        assert main(["up"]) == 1
        assert words in capsys.readouterr().err


def test_a_model_server_that_is_away_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("WSGIAPP_BACKEND_ADDRESS", address)
    assert main(["models", "list"]) == 1
    assert f"the model server cannot be reached now ({address}: Connection refused)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["settings", "--help", "capacity --page-views 5000000 --rate 100"])
def test_a_reader_that_has_seen_enough(arguments: str) -> None:
    """As `wsgiapp settings | head -0` has it: the reader is gone before anything is printed."""
    command = f"{shlex.quote(sys.executable)} -m wsgiapp.cli {arguments}"
    script = f"({command}; echo status $? >&2) | :"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert done.stderr in ("status 141\n", "status 0\n")
