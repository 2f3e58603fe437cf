"""The rendered files are complete, fit for their programs, and written only when they change."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from support.processes import REPOSITORY
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.nginx_errors import failures
from wsgiapp.deployment.render import render
from wsgiapp.deployment.template_values import template_values
from wsgiapp.errors import SettingsError
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.templates import PLACEHOLDER
from wsgiapp.tfserving import model_config

needs_nginx = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")


def loaded(tmp_path: Path, home: str = "home", **variables: str) -> Settings:
    conf = tmp_path / "conf"
    if not conf.exists():
        shutil.copytree(REPOSITORY / "conf", conf)
    return load_settings({"WSGIAPP_CONF": str(conf), "WSGIAPP_HOME": str(tmp_path / home), **variables})


def test_everything_is_filled_in_once(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    written = render(made)
    assert written >= {"supervisord.conf", "supervisor.d", "models.config"}
    for path in made.run.rglob("*.con*"):
        assert not PLACEHOLDER.search(path.read_text()), path
    assert render(made) == set()
    changed = render(loaded(tmp_path, WSGIAPP_APP_WORKERS="5"))
    assert changed - {"nginx.conf"} == {"supervisord.conf"}
    assert not list(made.run.glob("*.new"))


def test_supervisord_s_file(tmp_path: Path) -> None:
    made = loaded(tmp_path, WSGIAPP_APP_WORKERS="3", WSGIAPP_BACKEND_ADDRESS="127.0.0.1:1234")
    render(made)
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read([made.run / "supervisord.conf", made.run / "supervisor.d/modelserver.conf"])
    assert parser["fcgi-program:app"]["numprocs"] == "3"
    assert "--port=1234" in parser["program:modelserver"]["command"]
    for section in ("program:modelserver", "fcgi-program:app"):
        assert parser[section]["autorestart"] == "true"
        assert int(parser[section]["stopwaitsecs"]) > made.http.drain_seconds


def command_of_model_server(made: Settings) -> list[str]:
    """As supervisord starts it."""
    render(made)
    parser = configparser.RawConfigParser()
    parser.read(made.run / "supervisor.d/modelserver.conf")
    return shlex.split(parser["program:modelserver"]["command"])


def test_numbers_stand_in_typed_fields_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    assert not any("tensor_content" in word for word in command_of_model_server(loaded(tmp_path)))
    set_ = loaded(tmp_path, WSGIAPP_BACKEND_SERIALIZE_AS_TENSOR_CONTENT="true")
    assert "--enable_serialization_as_tensor_content=true" in command_of_model_server(set_)


def test_operation_libraries_may_have_odd_names(tmp_path: Path) -> None:
    assert not any("--operation_libraries" in word for word in command_of_model_server(loaded(tmp_path)))
    made = loaded(tmp_path, WSGIAPP_BACKEND_OPERATION_LIBRARIES="/a b/中.so,/c.so")
    assert "--operation_libraries=/a b/中.so,/c.so" in command_of_model_server(made)


def test_rest_and_a_watched_configuration(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    assert "--rest_api_port=0" in command_of_model_server(made)
    assert not (made.run / "supervisor.d/models.conf").exists()
    address = {"WSGIAPP_BACKEND_REST_PORT": "8501", "WSGIAPP_BACKEND_CONFIG_POLL_SECONDS": "5"}
    assert {"--host=127.0.0.1", "--rest_api_port=8501"} <= set(command_of_model_server(loaded(tmp_path, **address)))
    assert "models watch" in (made.run / "supervisor.d/models.conf").read_text()
    address["WSGIAPP_BACKEND_ADDRESS"] = "unix:/tmp/s"
    assert {"--host=127.0.0.1", "--rest_api_port=8501"} <= set(command_of_model_server(loaded(tmp_path, **address)))


@pytest.mark.parametrize("home", ["ho me", "家", "50%", "%(x)s %s"])
def test_odd_names_of_home(tmp_path_factory: pytest.TempPathFactory, home: str) -> None:
    made = loaded(tmp_path_factory.mktemp("h"), home, WSGIAPP_HTTP_PORT="18999")
    render(made)
    models = model_config.models_of(model_config.read(made.run / "models.config"), where="")
    assert models["lstm"].base_path == made.home / "models" / "lstm"
    nginx = find_nginx(made)
    if nginx:
        checked = subprocess.run(
            [nginx, "-t", "-e", "stderr", "-c", str(made.run / "nginx.conf")], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr


def test_models_config_can_stay_as_the_model_server_took_it(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    render(made)
    (made.run / "models.config").write_text("taken")
    render(made, models=False)
    assert (made.run / "models.config").read_text() == "taken"


@needs_nginx
def test_limits_reach_nginx(tmp_path: Path) -> None:
    made = loaded(tmp_path, WSGIAPP_LIMITS_BODY_BYTES="12345", WSGIAPP_LIMITS_REQUEST_LINE_BYTES="54321")
    render(made)
    text = (made.run / "nginx.conf").read_text()
    assert "client_max_body_size 12345;" in text
    assert "large_client_header_buffers 4 54321;" in text


@needs_nginx
@pytest.mark.parametrize(
    ("workers", "inflight", "nginx_workers", "each"),
    [(2, 256, 1, 128), (3, 256, 1, 128), (2, 256, 2, 64), (2, 8, 1, 4), (1, 1, 1, 1)],
)
def test_nginx_takes_half_of_the_predictions_that_a_worker_would_for_each_and_some_more(
    tmp_path: Path, workers: int, inflight: int, nginx_workers: int, each: int
) -> None:
    made = loaded(
        tmp_path,
        WSGIAPP_APP_WORKERS=str(workers),
        WSGIAPP_LIMITS_INFLIGHT=str(inflight),
        WSGIAPP_NGINX_WORKERS=str(nginx_workers),
    )
    render(made)
    text = (made.run / "nginx.conf").read_text()
    spare = max(1, each * 3 // 2 // 8)
    entries = [*(f"app_{number:02d}.sock" for number in range(workers)), *["app.sock"] * 8, "waiting.sock"]
    own, common = " max_fails=1 fail_timeout=1s", " backup max_fails=0"
    upstreams = dict(re.findall(r"(?s)upstream (predictions\w*) \{(.*?)\}", text))
    assert list(upstreams) == ["predictions_0", "predictions_1", "predictions", "predictions_batch"]
    for name, upstream in upstreams.items():
        part = 2 if name == "predictions_batch" else 1
        conns = [max(1, each // part)] * workers + [max(1, spare // part)] * 8 + [2000 // nginx_workers // part]
        kinds = [own] * workers + [common] * 8 + [f" backup{own}"]
        limits = [f"{kind} max_conns={most}" for kind, most in zip(kinds, conns, strict=True)]
        found = re.findall(r'server "unix:.*/run/(.*)"( .* max_conns=\d+);', upstream)
        assert found == list(zip(entries, limits, strict=True))
    assert text.count(f"{workers * each + 8 * spare} predictions are in flight") == 2


@pytest.mark.parametrize(
    ("said", "keeps_open"),
    [
        ("nginx version: nginx/1.22.1", False),
        ("nginx version: nginx/1.27.3 (Ubuntu)", False),
        ("nginx version: nginx/1.27.4", True),
        ("nginx version: nginx/1.31.0", True),
        ("nginx version: openresty/1.27.1.1", False),
        ("", False),
    ],
)
def test_connections_in_use_are_kept_by_an_nginx_that_can(tmp_path: Path, said: str, keeps_open: bool) -> None:
    program = tmp_path / "nginx"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    values = template_values(loaded(tmp_path), str(program))
    assert values["keeps_open"] == ("keepalive_min_timeout 1s;" if keeps_open else "")
    assert template_values(loaded(tmp_path), None)["keeps_open"] == ""


def test_without_nginx_the_workers_get_the_port(tmp_path: Path) -> None:
    made = loaded(tmp_path, WSGIAPP_NGINX_BINARY="", WSGIAPP_HTTP_PORT="18999")
    assert render(made) == {"supervisord.conf", "supervisor.d", "models.config"}
    text = (made.run / "supervisord.conf").read_text()
    assert "socket=tcp://127.0.0.1:18999" in text
    assert sorted(path.name for path in (made.run / "supervisor.d").iterdir()) == ["modelserver.conf", "watchdog.conf"]
    assert "socket_mode=" not in text


@needs_nginx
@pytest.mark.parametrize(("server", "passes"), [("gunicorn", "proxy_pass http://"), ("uwsgi", "uwsgi_pass ")])
def test_another_server_in_the_workers_place(tmp_path: Path, server: str, passes: str) -> None:
    made = loaded(tmp_path, WSGIAPP_APP_SERVER=server, WSGIAPP_APP_WORKERS="3", WSGIAPP_LIMITS_INFLIGHT="64")
    assert ("uwsgi.ini" in render(made)) == (server == "uwsgi")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read(made.run / "supervisord.conf")
    program = parser["program:app"]
    assert "fcgi-program:app" not in parser and program["numprocs"] == "1"
    assert f'/bin/{server}" ' in program["command"]
    text = (made.run / "nginx.conf").read_text()
    assert len(re.findall(rf"^ +{passes}(?:\$predictions|others);", text, re.MULTILINE)) == 4
    entry = f'server "unix:{made.run}/app.sock" max_fails=0 max_conns={3 * 32 // 8};'
    assert text.count(entry) == 8 * 3, "half of what three workers would take, of two models and of the others"
    if server == "uwsgi":
        ini = (made.run / "uwsgi.ini").read_text()
        assert not PLACEHOLDER.search(ini) and f"\nsocket = {made.run}/app.sock\n" in ini and "\nprocesses = 3\n" in ini


def test_a_unix_socket_to_the_built_in_model_server(tmp_path: Path) -> None:
    made = loaded(tmp_path, WSGIAPP_BACKEND_ADDRESS="unix:/a folder/serving.sock")
    render(made)
    text = (made.run / "supervisor.d/modelserver.conf").read_text()
    assert '--port=0 --grpc_socket_path="/a folder/serving.sock"' in text


def test_a_container_in_the_built_in_model_server_s_place(tmp_path: Path) -> None:
    made = loaded(tmp_path, WSGIAPP_APP_BACKEND="container")
    render(made)
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read(made.run / "supervisor.d/container.conf")
    program = parser["program:modelserver"]
    assert program["command"].endswith(" -m wsgiapp.cli container")
    assert int(program["stopwaitsecs"]) > made.http.drain_seconds + 10, "the engine needs time of its own"


def test_without_the_built_in_model_server(tmp_path: Path) -> None:
    made = loaded(tmp_path, WSGIAPP_APP_BACKEND="external", WSGIAPP_BACKEND_ADDRESS="serving.example:8500")
    render(made)
    text = (made.run / "supervisord.conf").read_text()
    assert not (made.run / "supervisor.d/modelserver.conf").exists()
    assert "[fcgi-program:app]" in text


@pytest.mark.parametrize("home", ["h" * 100, "家" * 33])  # bytes are counted, not characters
def test_a_path_too_long_for_a_socket(tmp_path: Path, home: str) -> None:
    with pytest.raises(SettingsError, match=r"WSGIAPP_HOME = .*: too long"):
        render(loaded(tmp_path, home))


def test_an_unknown_placeholder(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    (made.conf / "models.config").write_text("@{nosuch}")
    with pytest.raises(SettingsError, match=r"models.config: unknown placeholder @\{nosuch\}"):
        render(made)


@pytest.mark.parametrize("home", ["a*", "b?", "[c]"])
def test_a_home_that_supervisord_cannot_take(tmp_path: Path, home: str) -> None:
    with pytest.raises(SettingsError, match="supervisord cannot take a path with"):
        render(loaded(tmp_path, home))


def test_files_of_the_user_s_own_are_included_and_go_when_they_go(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    own = made.conf / "supervisor.d/mine.conf"
    own.write_text('[program:mine]\ncommand="@{python}" -c pass\n')
    render(made)
    included = made.run / "supervisor.d/user-mine.conf"
    assert PLACEHOLDER.search(own.read_text()) and not PLACEHOLDER.search(included.read_text())
    assert render(made) == set()
    own.unlink()
    assert render(made) == {"supervisor.d"}
    assert not included.exists()
    shutil.rmtree(made.conf / "supervisor.d")
    shutil.rmtree(made.conf / "nginx.d")
    assert render(made) == set()


@needs_nginx
def test_what_nginx_does_not_accept_is_undone(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    own = made.conf / "nginx.d/mine.conf"
    own.write_text("add_header X-Mine yes always;\n")
    assert render(made) >= {"nginx.conf", "nginx.d"}
    before = {path: path.read_text() for path in made.run.rglob("*.conf")}
    own.write_text("add_headers X-Mine yes;\n")
    with pytest.raises(SettingsError, match=r'does not accept its configuration:\n.*unknown directive "add_headers"'):
        render(made)
    assert {path: path.read_text() for path in made.run.rglob("*.conf")} == before


@needs_nginx
def test_quotes_and_backslashes_in_nginx_s_errors(tmp_path: Path) -> None:
    """What Nginx would answer is the application's body, with its own request id."""
    made = loaded(tmp_path)
    render(made)
    text = (made.run / "nginx.conf").read_text()
    returned = re.findall(r"return (\d+) '((?:[^'\\]|\\.)*)';", text)
    assert sorted(int(status) for status, _ in returned) == sorted(
        [failure.status for failure in failures(made, 0).values()] * 2
    )
    for status, quoted in returned:
        body = json.loads(re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), quoted))
        if "error" not in body:
            assert (body["status"], body["request_id"]) == (int(status), "$known_request_id")
