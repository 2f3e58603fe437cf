"""The unit of systemd: filled in, accepted and judged by systemd's own checker, written and removed with care."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import service
from support.processes import REPOSITORY
from support.stack import RunningStack
from wsgiapp.errors import SettingsError, StackError
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings

ANALYZE = shutil.which("systemd-analyze")
needs_systemd_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is missing (Debian: systemd)")
ODD = '--label "50% a\\b" $HOME'
MAX_EXPOSURE = 35  # of 100, in systemd's reckoning; a unit without any confinement has 96


def loaded(home: Path, **variables: str) -> Settings:
    return load_settings({"WSGIAPP_HOME": str(home), **variables})


def written(folder: Path, text: str) -> Path:
    path = folder / "wsgiapp.service"
    path.write_text(text)
    return path


@pytest.fixture
def destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the units go, below DESTDIR; the stack's home is beside it."""
    monkeypatch.setenv("DESTDIR", str(tmp_path / "root"))
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path / "home"))
    return tmp_path / "root/etc/systemd/system"


@needs_systemd_analyze
@pytest.mark.parametrize("name", ["plain", "a folder", "50% of $HOME", "家"])
def test_systemd_accepts_the_unit(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, service.unit(loaded(tmp_path / name), {"WSGIAPP_CONTAINER_ARGUMENTS": ODD}))
    checked = subprocess.run(
        [str(ANALYZE), "verify", "--recursive-errors=no", str(path)], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd_analyze
def test_the_unit_is_confined(tmp_path: Path) -> None:
    path = written(tmp_path, service.unit(loaded(tmp_path / "home"), {}))
    command = [str(ANALYZE), "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(path)]
    judged = subprocess.run(command, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert "Overall exposure level" in judged.stdout


def test_what_the_unit_says(tmp_path: Path) -> None:
    home = tmp_path / "50% of it"
    settings = loaded(home, WSGIAPP_BACKEND_ADDRESS="unix:/srv/a b/serving.sock", WSGIAPP_HTTP_DRAIN_SECONDS="30")
    lines = service.unit(settings, {"WSGIAPP_CONTAINER_ARGUMENTS": ODD, "HOME": "/nowhere"}).splitlines()
    escaped = str(home).replace("%", "%%")
    assert f'Environment="WSGIAPP_HOME={escaped}"' in lines
    assert 'Environment="WSGIAPP_CONTAINER_ARGUMENTS=--label \\"50%% a\\\\b\\" $HOME"' in lines
    assert not any("HOME=/nowhere" in line for line in lines)
    assert f"PIDFile={escaped}/run/supervisord.pid" in lines
    repository, program = (
        str(path).replace("%", "%%") for path in (REPOSITORY, Path(sys.executable).with_name("wsgiapp"))
    )
    assert f"WorkingDirectory={repository}" in lines
    assert f'ReadWritePaths="{escaped}" "{repository}/conf" "/srv/a b"' in lines
    assert f'ExecStart="{program}" up' in lines
    assert "TimeoutStopSec=160" in lines, "four times 30 s and what ending takes"


def test_the_unit_s_user_owns_the_home(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    assert "User=nobody" in service.unit(loaded(home), {}).splitlines()


def test_a_secret_is_not_put_where_everybody_reads_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WSGIAPP_MANAGEMENT_TOKEN: everybody may read a unit"):
        service.unit(loaded(tmp_path), {"WSGIAPP_MANAGEMENT_TOKEN": "secret"})


def test_installed_changed_and_removed(destination: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = destination / "wsgiapp.service"
    assert service.main(["uninstall"]) == 0, "harmless"
    assert "nothing to do" in capsys.readouterr().out
    assert service.main(["install"]) == 0
    assert (unit.stat().st_mode & 0o777, unit.read_text()[-27:]) == (0o644, "WantedBy=multi-user.target\n")
    before = unit.read_text()
    os.environ["WSGIAPP_HTTP_PORT"] = "8081"
    try:
        assert service.main(["install"]) == 0
    finally:
        del os.environ["WSGIAPP_HTTP_PORT"]
    assert unit.read_text() != before
    assert service.main(["uninstall"]) == 0
    assert not unit.exists()


def test_another_stack_s_unit_stays(
    destination: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service.main(["install"]) == 0
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path / "second"))
    for command in ("install", "uninstall"):
        assert service.main([command]) == 1
        assert "wsgiapp.service is there already and starts something else; SERVICE=" in capsys.readouterr().err
    assert service.main(["install", "second"]) == 0
    assert sorted(path.name for path in destination.iterdir()) == ["second.service", "wsgiapp.service"]
    assert service.main(["install", "../x"]) == 1


def test_what_the_service_could_not_see() -> None:
    service.require_visible(Path("/srv/wsgiapp"), Path("/srv/tmp/x"))
    for folder in ("/tmp/wsgiapp", "/var/tmp/a/b"):  # noqa: S108
        with pytest.raises(StackError, match=f"{folder}: the service has temporary folders of its own"):
            service.require_visible(Path("/srv/wsgiapp"), Path(folder))


def test_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(service, "BOOTED", tmp_path / "missing")
    with pytest.raises(StackError, match="this machine was not started by systemd"):
        service.install(loaded(tmp_path), "wsgiapp")


def test_a_stack_that_runs_outside_of_systemd(stack: RunningStack, destination: Path) -> None:
    with pytest.raises(StackError, match="the stack runs already, outside of systemd; `make down` first"):
        service.install(load_settings(stack.variables), "wsgiapp")
    assert not destination.exists()


def test_make_targets(stack: RunningStack, tmp_path: Path) -> None:
    """`make supervisorctl` speaks to the stack of WSGIAPP_HOME, wherever that is; the others write where they say."""
    make = [
        "make",
        "-C",
        str(REPOSITORY),
        "-o",
        ".venv/installed",
        f"BIN={os.path.relpath(Path(sys.executable).parent, REPOSITORY)}",
    ]
    env = {**os.environ, **stack.variables, "DESTDIR": str(tmp_path)}
    status = subprocess.run([*make, "supervisorctl", "ARGS=status app:*"], env=env, capture_output=True, text=True)
    assert status.returncode == 0, status.stderr
    assert [line.split()[:2] for line in status.stdout.splitlines() if line.startswith("app")] == [
        ["app:app_00", "RUNNING"],
        ["app:app_01", "RUNNING"],
    ]
    unit = tmp_path / "etc/systemd/system/mine.service"
    variables = {**env, "WSGIAPP_HOME": str(tmp_path / "home")}
    for target, exists in (("install-service", True), ("uninstall-service", False)):
        done = subprocess.run([*make, target, "SERVICE=mine"], env=variables, capture_output=True, text=True)
        assert (done.returncode, unit.exists()) == (0, exists), done.stderr
