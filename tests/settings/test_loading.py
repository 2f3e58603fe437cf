"""Defaults, file, variables: the later wins, and what is wrong is named."""

from pathlib import Path

import pytest

from support.processes import REPOSITORY
from wsgiapp.errors import SettingsError
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.reference import reference
from wsgiapp.settings.schema import Settings

MODELS = '[models.lstm]\npipeline = "segmented_text"\n'


def load(tmp_path: Path, text: str = MODELS, **variables: str) -> Settings:
    (tmp_path / "wsgiapp.toml").write_text(text, encoding="utf-8")
    return load_settings({"WSGIAPP_CONF": str(tmp_path), **variables})


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


def test_how_a_model_is_batched(tmp_path: Path) -> None:
    text = MODELS + '[models.other]\npipeline = "p"\nbatching = false\nmax_batch_size = 8\nmax_inflight = 3\n'
    loaded = load(tmp_path, text).models
    assert [(each.batching, each.max_batch_size, each.max_inflight) for each in loaded.values()] == [
        (True, 64, 1),
        (False, 8, 3),
    ]


def test_where_the_counters_are(tmp_path: Path) -> None:
    loaded = load(tmp_path, WSGIAPP_HOME=str(tmp_path / "home"))
    assert (loaded.http.metrics_path, loaded.metrics) == ("/metrics", tmp_path / "home/run/metrics")
    assert load(tmp_path, WSGIAPP_HTTP_METRICS_PATH="/a/b").http.metrics_path == "/a/b"
    nowhere = load(tmp_path, WSGIAPP_HTTP_METRICS_PATH="", WSGIAPP_BACKEND_METRICS_PATH="")
    assert (nowhere.http.metrics_path, nowhere.backend.metrics_path) == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[app]\nworkers = "four"', 'app.workers = "four": not a whole number'),
        ("[app]\nworkers = true", "app.workers = True: not a whole number"),
        ("[http]\nport = 70000", "http.port = 70000: must be between 1 and 65535"),
        ("[http]\nprot = 1", "http.prot: no such setting; did you mean port"),
        ("[htpt]\nport = 1", "htpt: no such setting; did you mean http"),
        ("http = 3", "http = 3: not a table"),
        ("[http", "wsgiapp.toml"),
        ('[app]\ndefault_model = "x"', 'app.default_model = "x": not a configured model (lstm)'),
        ('[log]\nlevel = "loud"', 'log.level = "loud"'),
        ('[backend]\naddress = "here:0"', 'backend.address = "here:0": a port is from 1 to 65535'),
        ('[backend]\naddress = "here:65536"', 'backend.address = "here:65536": a port is from 1 to 65535'),
        ('[backend]\naddress = "here"', 'backend.address = "here": not host:port or unix:/absolute/path'),
        ('[backend]\naddress = "unix:here"', 'backend.address = "unix:here": a Unix socket needs an absolute path'),
        (f'[backend]\naddress = "unix:/{"x" * 107}"', "longer than the 107 bytes that a Unix socket's path can have"),
        ('[app]\nbackend = "docker"', 'app.backend = "docker": not embedded, container or external'),
        ('[container]\npull = "often"', 'container.pull = "often": not missing, always or never'),
        ("[container]\nmemory_bytes = 4096", "container.memory_bytes = 4096: must be 0 or at least 67108864"),
        ('[container]\nuser = "me"', 'container.user = "me": not uid:gid in numbers'),
        ('[container]\ngpu = "0,1"', 'container.gpu = "0,1": not one GPU'),
        ('[container]\nimage = "--privileged"', 'container.image = "--privileged": not an image'),
        ('[container]\narguments = "--env=\'"', 'container.arguments = "--env=\'": No closing quotation'),
        ('[backend]\nmetrics_path = "metrics"', 'backend.metrics_path = "metrics": not a path like /metrics'),
        ('[http]\nidle_seconds = 9\nmetrics_path = "/a b"', 'http.metrics_path = "/a b": not a path like /metrics'),
        ('[http]\nidle_seconds = 9\nmetrics_path = "/"', 'http.metrics_path = "/": not a path like /metrics'),
        (
            '[backend]\nmetrics_path = "/metrics"',
            'backend.metrics_path = "/metrics": http.metrics_path is there already',
        ),
        ("[models.a]\npipeline = 'p'\nbatching = 1", "models.a.batching = 1: not true or false"),
        ("[models.a]\npipeline = 'p'\nmax_batch_size = 0", "models.a.max_batch_size = 0: must be at least 1"),
        ("[models.a]\npipeline = 'p'\nmax_inflight = 0", "models.a.max_inflight = 0: must be at least 1"),
        ("[models.a]\npipeline = 'p'\nmax_inflight = 1.5", "models.a.max_inflight = 1.5: not a whole number"),
        ("[models.v1]\npipeline = 'p'", "models.v1: not a name"),
        ("[models.'a/b']\npipeline = 'p'", "models.a/b: not a name"),
        ("[models.a]", "models.a.pipeline: missing"),
        ("[models.a]\npipeline = 'p'\nversion = 1\nlabel = 'x'", "more than one of version, label and split"),
        ("[models.a]\npipeline = 'p'\nlabel = 'x'\nsplit = { x = 1 }", "more than one of version, label and split"),
        ("[models.a]\npipeline = 'p'\nsplit = { x = 0 }", "models.a.split.x = 0: not a share"),
        ("[models.a]\npipeline = 'p'\nsplit = { x = '5' }", 'models.a.split.x = "5": not a share'),
        ("[models.a]\npipeline = 'p'\nsplit = 'x'", 'models.a.split = "x": not a table'),
        ("[models.a]\npipeline = 'p'\ndeadline_seconds = 0", "models.a.deadline_seconds = 0: must be at least"),
        ("[models.a]\npipeline = 'p'\noptions = 3", "models.a.options = 3: not a table"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text + "\n" + MODELS if not text.startswith("[http\n") else text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WSGIAPP_HTTP_PORT", "eighty", 'WSGIAPP_HTTP_PORT = "eighty": not a whole number'),
        ("WSGIAPP_LOG_ACCESS", "yes", 'WSGIAPP_LOG_ACCESS = "yes": not true or false'),
        ("WSGIAPP_PORT", "1", "WSGIAPP_PORT: no such setting"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, **{variable: value})
    assert message in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WSGIAPP_CONF"):
        load_settings({"WSGIAPP_CONF": str(tmp_path / "nowhere")})


def test_no_model(tmp_path: Path) -> None:
    """Only TF Serving's routes are served then."""
    loaded = load(
        tmp_path, "", WSGIAPP_BACKEND_ADDRESS="unix:/run/grpc.sock", WSGIAPP_BACKEND_METRICS_PATH="/metrics/x"
    )
    assert (loaded.models, loaded.default_model) == ({}, "")
    assert (loaded.backend.address, loaded.backend.metrics_path) == ("unix:/run/grpc.sock", "/metrics/x")


def test_the_shipped_file_is_right() -> None:
    assert set(load_settings({}).models) == {"lstm", "cv_sod"}


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readmes_list_every_setting_with_its_default(readme: str) -> None:
    text = (REPOSITORY / readme).read_text(encoding="utf-8")
    for table, key, default, _ in reference():
        shown = f"`{default}`" if default else ""
        assert f"| `{table}.{key}` | {shown} |" in text, f"{readme} lacks {table}.{key} with its default"


def test_the_english_readme_has_the_meanings_as_they_stand_in_the_code() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for table, key, _, about in reference():
        assert about in text, f"{table}.{key}"
