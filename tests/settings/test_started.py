"""What a stack remembers of its start, and which variables and changes do not count."""

import json
import stat
from pathlib import Path

import pytest

from wsgiapp.deployment.stack_settings import stack_settings
from wsgiapp.errors import SettingsError
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.started import NAME, Started, forget, process_settings, run_folder

TOML = """
[http]
port = 8081
[models.a]
pipeline = "segmented_text"
options = { since = 2024-01-01 }
"""
SECRET = "s3cret"  # noqa: S105


@pytest.fixture
def first(tmp_path: Path) -> dict[str, str]:
    """The variables of the terminal that starts the stack."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "home/run").mkdir(parents=True)
    (tmp_path / "conf/wsgiapp.toml").write_text(TOML)
    return {
        "PATH": "/bin",
        "WSGIAPP_HOME": str(tmp_path / "home"),
        "WSGIAPP_CONF": str(tmp_path / "conf"),
        "WSGIAPP_HTTP_PORT": "8082",
        "WSGIAPP_MANAGEMENT_TOKEN": SECRET,
    }


@pytest.fixture
def second(first: dict[str, str]) -> dict[str, str]:
    """A terminal that knows the home and nothing else."""
    return {"PATH": "/usr/bin", "WSGIAPP_HOME": first["WSGIAPP_HOME"]}


def start(environ: dict[str, str]) -> Settings:
    settings = load_settings(environ)
    Started.now(settings, environ).write(settings.run)
    return settings


def read(environ: dict[str, str]) -> Started:
    started = Started.read(run_folder(environ))
    assert started is not None
    return started


def test_a_second_terminal_speaks_of_the_same_stack(first: dict[str, str], second: dict[str, str]) -> None:
    started = start(first)
    settings, notices = stack_settings(second)
    assert (settings.conf, settings.http.port) == (started.conf, 8082)
    assert notices == []
    assert stack_settings(first) == (started, [])
    assert read(second).environment(second)["PATH"] == "/usr/bin", "only the stack's own variables are its own"


def test_the_stack_s_variables_win_and_the_others_are_named(first: dict[str, str], second: dict[str, str]) -> None:
    start(first)
    other = {
        **second,
        "WSGIAPP_CONF": first["WSGIAPP_CONF"],
        "WSGIAPP_HTTP_PORT": "9999",
        "WSGIAPP_APP_WORKERS": "7",
        "WSGIAPP_MANAGEMENT_TOKEN": "another",
    }
    settings, notices = stack_settings(other)
    assert (settings.http.port, settings.app.workers) == (8082, 0)
    assert notices == [
        "WSGIAPP_APP_WORKERS: ignored, the stack was started without it; `make down && make up` applies it",
        'WSGIAPP_HTTP_PORT: ignored, the stack was started with "8082"; `make down && make up` applies it',
        "WSGIAPP_MANAGEMENT_TOKEN: ignored, the stack was started with another value; `make down && make up` "
        "applies it",
    ]


@pytest.mark.parametrize(("name", "value"), [("WSGIAPP_HTTP_PORT", "70000"), ("WSGIAPP_HTP_PORT", "8081")])
def test_a_wrong_variable_is_an_error_though_it_would_not_count(
    first: dict[str, str], second: dict[str, str], name: str, value: str
) -> None:
    start(first)
    with pytest.raises(SettingsError, match=name):
        stack_settings({**second, name: value})


def test_a_stack_that_does_not_run_starts_with_the_shell_s_own(first: dict[str, str], second: dict[str, str]) -> None:
    """The file may be from before a crash or a reboot."""
    start(first)
    fresh = {**second, "WSGIAPP_CONF": first["WSGIAPP_CONF"]}
    settings, notices = stack_settings(fresh, starts=True)
    assert (settings.http.port, notices) == (8081, [])
    forget(run_folder(first))
    assert stack_settings(fresh)[0].http.port == 8081


def test_the_file_is_its_owner_s_and_has_no_secret(first: dict[str, str]) -> None:
    settings = start(first)
    (settings.run / f"{NAME}.new").write_text("left by one that was killed")
    (settings.run / f"{NAME}.new").chmod(0o644)
    start(first)
    path = settings.run / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET not in path.read_text()
    assert not path.with_name(f"{NAME}.new").exists()
    path.write_text("{}")
    assert Started.read(settings.run) is None, "of another version, or damaged"


def test_changes_that_wait_and_what_applies_them(first: dict[str, str]) -> None:
    start(first)
    assert read(first).waiting(load_settings(first)) == []
    file = Path(first["WSGIAPP_CONF"]) / "wsgiapp.toml"
    file.write_text(
        TOML.replace("[models.a]", '[models."b.c"]').replace("port", 'host = "0.0.0.0"\nconnections = 7\nport')
    )
    wanted = load_settings(first)
    host = 'http.host = "0.0.0.0": not applied, it is "127.0.0.1"; `make down && make up` applies it'
    assert read(first).waiting(wanted) == [
        host,
        "http.connections = 7: not applied, it is 1000; `make restart` applies it",
        "models.a: not removed; `make restart` applies it",
        "models.b.c: not added; `make restart` applies it",
    ]
    applied = read(first).applied(wanted)
    assert (applied.http.host, applied.http.connections, list(applied.models)) == ("127.0.0.1", 7, ["b.c"])
    assert read(first).restarted(wanted).waiting(wanted) == [host], "a restart applies the others"


def test_a_process_of_the_stack_works_by_what_it_was_started_with(first: dict[str, str]) -> None:
    """Of what a restart cannot apply: its model server is where it was."""
    start(first)
    file = Path(first["WSGIAPP_CONF"]) / "wsgiapp.toml"
    file.write_text(TOML + '[backend]\naddress = "127.0.0.1:1"\n[log]\nlevel = "debug"\n')
    of_stack = process_settings({**first, "SUPERVISOR_ENABLED": "1"})
    assert (of_stack.backend.address, of_stack.log.level) == ("127.0.0.1:8500", "debug")
    assert process_settings(first).backend.address == "127.0.0.1:1", "one that was started by hand"


def test_a_changed_secret_is_told_without_its_value(first: dict[str, str], second: dict[str, str]) -> None:
    file = Path(first["WSGIAPP_CONF"]) / "wsgiapp.toml"
    without = {name: value for name, value in first.items() if name != "WSGIAPP_MANAGEMENT_TOKEN"}
    start(without)
    file.write_text(TOML + f'[management]\ntoken = "{SECRET}"\n')
    wanted = load_settings(without)
    lines = read(without).waiting(wanted)
    assert lines == ["management.token: a change of it is not applied; `make restart` applies it"]
    assert read(without).restarted(wanted).waiting(wanted) == []


def test_a_terminal_need_not_know_the_secret(first: dict[str, str], second: dict[str, str]) -> None:
    start(first)
    settings, _ = stack_settings(second)
    assert settings.management.token == ""
    assert read(second).waiting(settings) == []
    restarted = read(second).restarted(settings)
    restarted.write(settings.run)
    assert stack_settings(first)[1] == [], "a restart from there does not forget which one it was"


def test_what_an_earlier_version_started_knows_nothing_of_new_settings(first: dict[str, str]) -> None:
    """Its model server has no socket: workers that are replaced go on calling it by its port, until `make up`."""
    settings = start(first).in_stack()
    file = settings.run / NAME
    remembered = json.loads(file.read_text())
    del remembered["values"]["backend.socket"]
    file.write_text(json.dumps(remembered))
    in_worker = {**first, "SUPERVISOR_ENABLED": "1"}
    assert process_settings(in_worker).backend.call_address == settings.backend.address
    read(first).restarted(settings).write(settings.run)
    assert process_settings(in_worker).backend.call_address == settings.backend.address, "a restart changes nothing"
    Started.now(settings, first).write(settings.run)
    assert process_settings(in_worker).backend.call_address == f"unix:{settings.run}/modelserver.sock"
    assert process_settings(first).backend.call_address == settings.backend.address, "one that was started by hand"
