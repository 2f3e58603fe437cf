"""Defaults, file, variables: the later wins, and what is wrong is named."""

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from support.processes import REPOSITORY
from wsgiapp.errors import SettingsError
from wsgiapp.settings.declaration import declarations
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import TABLES, Settings
from wsgiapp.settings.tables.models import Model

MODELS = '[models.lstm]\npipeline = "segmented_text"\n'


def load(tmp_path: Path, text: str = MODELS, **variables: str) -> Settings:
    (tmp_path / "wsgiapp.toml").write_text(text, encoding="utf-8")
    return load_settings({"WSGIAPP_CONF": str(tmp_path), **variables})


def error(tmp_path: Path, text: str = MODELS, **variables: str) -> str:
    """The message of what is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, **variables)
    return str(caught.value)


def settings_of_type(kind: type) -> list[tuple[str, str]]:
    """(table, key) of every setting with a type, those of a model included."""
    return [
        (table, field.name)
        for table, declared in [*TABLES.items(), ("models.m", Model)]
        for field, _ in declarations(declared)
        if typing.get_type_hints(declared)[field.name] is kind
    ]


def test_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert (loaded.http.host, loaded.http.port) == ("127.0.0.1", 8080)
    assert loaded.backend.address == "127.0.0.1:8500"
    assert loaded.default_model == "lstm"
    assert loaded.workers >= 2
    assert loaded.models["lstm"].signature == "serving_default"
    assert loaded.home == REPOSITORY / "var"


def test_the_file_overrides_defaults_and_variables_override_the_file(tmp_path: Path) -> None:
    text = MODELS + '[http]\nport = 9000\nhost = "0.0.0.0"\n'
    loaded = load(tmp_path, text, WSGIAPP_HTTP_PORT="9001", WSGIAPP_HOME=str(tmp_path / "home"))
    assert (loaded.http.host, loaded.http.port) == ("0.0.0.0", 9001)
    assert loaded.run == tmp_path / "home" / "run"


def test_types_of_variables(tmp_path: Path) -> None:
    loaded = load(tmp_path, WSGIAPP_LOG_ACCESS="false", WSGIAPP_HTTP_DRAIN_SECONDS="2.5", WSGIAPP_APP_WORKERS="3")
    assert (loaded.log.access, loaded.http.drain_seconds, loaded.workers) == (False, 2.5, 3)


def test_a_model_s_table(tmp_path: Path) -> None:
    text = MODELS + '[models.other]\npipeline = "p"\nversion = 7\ndeadline_seconds = 2\noptions = { size = 64 }\n'
    model = load(tmp_path, text).models["other"]
    assert (model.name, model.version, model.deadline_seconds, model.options) == ("other", 7, 2.0, {"size": 64})


def test_tables_that_are_left_out_are_not_shared_between_models(tmp_path: Path) -> None:
    first, second = load(tmp_path, MODELS + '[models.other]\npipeline = "p"\n').models.values()
    assert first.options == second.options == {} and first.options is not second.options


def test_how_a_model_is_batched(tmp_path: Path) -> None:
    text = MODELS + '[models.other]\npipeline = "p"\nbatching = false\nmax_batch_size = 8\nmax_inflight = 3\n'
    loaded = load(tmp_path, text).models
    assert [(each.batching, each.max_batch_size, each.max_inflight) for each in loaded.values()] == [
        (True, 64, 1),
        (False, 8, 3),
    ]


def test_where_the_metrics_are(tmp_path: Path) -> None:
    loaded = load(tmp_path, WSGIAPP_HOME=str(tmp_path / "home"))
    assert (loaded.http.metrics_path, loaded.metrics) == ("/metrics", tmp_path / "home/run/metrics")
    assert load(tmp_path, WSGIAPP_HTTP_METRICS_PATH="/a/b").http.metrics_path == "/a/b"
    nowhere = load(tmp_path, WSGIAPP_HTTP_METRICS_PATH="", WSGIAPP_BACKEND_METRICS_PATH="")
    assert (nowhere.http.metrics_path, nowhere.backend.metrics_path) == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[app]\nworkers = "four"', 'app.workers = "four": not a whole number'),
        ('[app]\nworkers = "4"', 'app.workers = "4": not a whole number'),
        ("[app]\nworkers = true", "app.workers = true: not a whole number"),
        ("[app]\nworkers = 4.0", "app.workers = 4.0: not a whole number"),
        ("[http]\nhost = 1", "http.host = 1: not a text in quotes"),
        ("[http]\nport = 70000", "http.port = 70000: must be between 1 and 65535"),
        ("[http]\nprot = 1", "http.prot: no such setting; did you mean port?"),
        ("[htpt]\nport = 1", "htpt: no such setting; did you mean http?"),
        ("http = 3", "http = 3: not a table"),
        ("[http", "wsgiapp.toml"),
        (f"[http]\nport = {'9' * 5000}", "wsgiapp.toml: "),
        ('[app]\ndefault_model = "x"', 'app.default_model = "x": not a configured model (lstm)'),
        ('[log]\nlevel = "loud"', 'log.level = "loud": not debug, info, warning or error'),
        ('[app]\nbackend = "docker"', 'app.backend = "docker": not embedded, container or external'),
        ('[container]\npull = "often"', 'container.pull = "often": not missing, always or never'),
        ("[container]\nmemory_bytes = 4096", "container.memory_bytes = 4096: must be 0 or at least 67108864"),
        ('[http]\nhost = "::1"', 'http.host = "::1": not an IPv4 address or a host name, without a port; IPv6 is not'),
        ('[http]\nhost = "a\\nb"', 'http.host = "a\\nb": not an IPv4 address'),
        ('[backend]\naddress = "here"', 'backend.address = "here": not host:port or unix:/absolute/path'),
        ('[backend]\naddress = "[::1]:8500"', 'backend.address = "[::1]:8500": not host:port or unix:/absolute/path'),
        ('[backend]\nmetrics_path = "metrics"', 'backend.metrics_path = "metrics": not a path like /metrics'),
        ('[backend]\nmetrics_path = "/metrics"', 'backend.metrics_path = "/metrics": http.metrics_path has the same'),
        ("[backend]\nrest_port = 8500", "backend.rest_port = 8500: backend.address has the same port"),
        ("[backend]\nrest_port = 8080", "backend.rest_port = 8080: http.port has the same port"),
        ("[backend]\nconfig_poll_seconds = 0.01", "must be 0 or between 0.1 and"),
        ('[http]\ncors_origins = "https://a/"', 'http.cors_origins = "https://a/": https://a/ is not an origin'),
        (
            '[http]\ncors_origins = "*"\ncors_credentials = true',
            "http.cors_credentials = true: not with http.cors_origins",
        ),
        ('[http]\ncompatibility = "fastapi"', 'http.compatibility = "fastapi": not flask or empty'),
        ("models = 3", "models = 3: not a table"),
        ("models.a = 3", "models.a = 3: not a table"),
        ("[models.a]\npipeline = 'p'\nname = 'b'", "models.a.name: no such setting"),
        ("[models.a]\npipeline = 'p'\nbatching = 1", "models.a.batching = 1: not true or false"),
        ("[models.a]\npipeline = 'p'\nmax_batch_size = 0", "models.a.max_batch_size = 0: must be at least 1"),
        ("[models.a]\npipeline = 'p'\nmax_inflight = 1.5", "models.a.max_inflight = 1.5: not a whole number"),
        (f"[models.a]\npipeline = 'p'\nversion = {2**63}", "must be between 0 and 9223372036854775807"),
        ("[models.v1]\npipeline = 'p'", "models.v1: not a name"),
        ("[models.'a/b']\npipeline = 'p'", "models.a/b: not a name"),
        ("[models.a]", "models.a.pipeline: missing"),
        ("[models.a]\npipeline = 'p'\nversion = 1\nlabel = 'x'", "more than one of version, label and split"),
        ("[models.a]\npipeline = 'p'\nlabel = 'x'\nsplit = { x = 1 }", "more than one of version, label and split"),
        ("[models.a]\npipeline = 'p'\nsplit = { x = 0 }", "models.a.split.x = 0: not a share, a number above 0"),
        ("[models.a]\npipeline = 'p'\nsplit = { x = '5' }", 'models.a.split.x = "5": not a share'),
        ("[models.a]\npipeline = 'p'\nsplit = 'x'", 'models.a.split = "x": not a table'),
        (
            "[models.a]\npipeline = 'p'\ndeadline_seconds = 0",
            "models.a.deadline_seconds = 0: must be between 0.001 and 31536000",
        ),
        ("[models.a]\npipeline = 'p'\noptions = 3", "models.a.options = 3: not a table"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message in error(tmp_path, text if text.startswith("models") else f"{text}\n{MODELS}")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WSGIAPP_HTTP_PORT", "eighty", 'WSGIAPP_HTTP_PORT = "eighty": not a whole number'),
        ("WSGIAPP_HTTP_PORT", "", 'WSGIAPP_HTTP_PORT = "": not a whole number'),
        ("WSGIAPP_LOG_ACCESS", "yes", 'WSGIAPP_LOG_ACCESS = "yes": not true or false'),
        ("WSGIAPP_PORT", "1", "WSGIAPP_PORT: no such setting; did you mean WSGIAPP_HTTP_PORT?"),
        ("WSGIAPP_MODELS_LSTM_LABEL", "x", "WSGIAPP_MODELS_LSTM_LABEL: no such setting"),
        ("WSGIAPP_HOME", '/a"b', 'WSGIAPP_HOME = "/a\\"b": not a path without control characters'),
        ("WSGIAPP_HOME", "/a\nb", 'WSGIAPP_HOME = "/a\\nb": not a path without control characters'),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, message: str) -> None:
    assert message in error(tmp_path, **{variable: value})


@pytest.mark.parametrize(("table", "key"), settings_of_type(float))
def test_a_number_that_is_not_finite_is_rejected_with_the_range(tmp_path: Path, table: str, key: str) -> None:
    model = 'pipeline = "p"\n' if table.startswith("models") else ""
    zero = "0 or " if key in ("config_poll_seconds", "watchdog_seconds") else ""
    for value in ("nan", "inf", "-inf", f"1{'0' * 400}"):
        message = error(tmp_path, f"[{table}]\n{model}{key} = {value}\n")
        assert message.startswith(f"{table}.{key} = {value}: must be {zero}between "), message
    if not model:
        variable = f"WSGIAPP_{table}_{key}".upper()
        for value in ("nan", "inf", "1e999"):
            assert error(tmp_path, **{variable: value}).startswith(f'{variable} = "{value}": must be {zero}between ')


@pytest.mark.parametrize(("table", "key"), settings_of_type(str))
@pytest.mark.parametrize("character", ["\0", "\r", "\x1b", "\x7f"])
def test_no_text_has_control_characters(tmp_path: Path, table: str, key: str, character: str) -> None:
    model = 'pipeline = "p"\n' if table.startswith("models") and key != "pipeline" else ""
    message = error(tmp_path, f'[{table}]\n{model}{key} = "a\\u{ord(character):04x}b"\n')
    assert message.startswith(f"{table}.{key}"), message


def test_a_text_that_is_not_utf_8_is_rejected(tmp_path: Path) -> None:
    assert "WSGIAPP_NGINX_BINARY" in error(tmp_path, WSGIAPP_NGINX_BINARY=os.fsdecode(b"/opt/\xff"))


def test_a_secret_appears_in_no_message(tmp_path: Path) -> None:
    message = error(tmp_path, '[management]\ntoken = "very secret"\n')
    assert message.startswith("management.token: not a text of visible ASCII")
    assert "very secret" not in message
    message = error(tmp_path, "[management]\ntoken = 20271231\n")
    assert message == "management.token: not a text in quotes"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file or directory; WSGIAPP_CONF has to name the folder"):
        load_settings({"WSGIAPP_CONF": str(tmp_path / "nowhere")})
    (tmp_path / "wsgiapp.toml").mkdir()
    with pytest.raises(SettingsError, match=r"wsgiapp.toml: Is a directory; WSGIAPP_CONF"):
        load_settings({"WSGIAPP_CONF": str(tmp_path)})


def test_no_model(tmp_path: Path) -> None:
    """Only TF Serving's routes are served then."""
    loaded = load(
        tmp_path, "", WSGIAPP_BACKEND_ADDRESS="unix:/run/grpc.sock", WSGIAPP_BACKEND_METRICS_PATH="/metrics/x"
    )
    assert (loaded.models, loaded.default_model) == ({}, "")
    assert (loaded.backend.address, loaded.backend.metrics_path) == ("unix:/run/grpc.sock", "/metrics/x")


def test_the_shipped_file_is_valid() -> None:
    assert set(load_settings({}).models) == {"lstm", "cv_sod"}


def test_no_library_is_imported() -> None:
    """Each worker loads the settings: they must not bring a validation library, or the rest of the service, along."""
    code = "import sys, wsgiapp.settings.loading; print(*{name.partition('.')[0] for name in sys.modules})"
    printed = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    foreign = set(printed.stdout.split()) - sys.stdlib_module_names - {"__main__"}
    assert foreign == {"wsgiapp"}
