"""gunicorn and uWSGI in the place of the workers' own program, behind Nginx: predictions, kill -9, reload, drain."""

import base64
import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.http_client import Load, fetch
from support.images import image_file, photograph
from support.processes import poll
from support.stack import RunningStack
from wsgiapp.deployment import app_server
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.processes import child_processes
from wsgiapp.deployment.stack import Stack
from wsgiapp.errors import SettingsError
from wsgiapp.settings.loading import load_settings

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

APP = "app:app_00"
WORKERS = 2
LINE = "我很喜欢中国银行的产品"
TEXT = f"/lstm/predict?line={base64.urlsafe_b64encode(LINE.encode()).decode()}"
IMAGE = image_file(photograph(160, 120), ".jpg")
IN_FLIGHT = 6


class Served(RunningStack):
    """Nginx and one of the servers, in front of another stack's model server."""

    def __init__(self, home: Path, server: str, other: RunningStack) -> None:
        super().__init__(home)
        self.server, self.other = server, other
        self.variables |= {
            "WSGIAPP_APP_SERVER": server,
            "WSGIAPP_APP_BACKEND": "external",
            "WSGIAPP_BACKEND_ADDRESS": other.variables["WSGIAPP_BACKEND_ADDRESS"],
        }

    @property
    def master(self) -> int:
        return self.pids()[APP]

    @property
    def workers(self) -> set[int]:
        return child_processes(self.master)

    def load(self, threads: int) -> Load:
        return Load(self.url + TEXT, lambda body: json.loads(body)["labels"] == "POS", threads)

    def rows(self) -> float:
        """Calls to the model server that the metrics of all workers count."""
        families = text_string_to_metric_families(fetch(f"{self.url}/metrics").body.decode())
        samples = [sample for family in families for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == "wsgiapp_batch_rows_sum")


@pytest.fixture(scope="module", params=["gunicorn", "uwsgi"])
def served(
    request: pytest.FixtureRequest, session_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp(request.param), request.param, session_stack)
    try:
        up = made.wsgiapp("up")
        assert up.returncode == 0, up.stderr + made.logs()
        yield made
    finally:
        made.wsgiapp("down")
        assert not made.home.joinpath("run/app.sock").exists()


def test_predictions_are_the_stack_s_own(served: Served) -> None:
    for path, body, content_type in (
        (TEXT, None, ""),
        ("/lstm/predict", {"line": LINE}, ""),
        ("/cv_sod/predict", IMAGE, "image/jpeg"),
        (f"/cv_sod/predict?img={quote(base64.b64encode(IMAGE))}", None, ""),
        ("/v1/models/lstm:predict", {"instances": [{"words": ["非常", "讨厌"], "nwords": 2}]}, ""),
    ):
        headers = {"Content_Type": content_type} if content_type else {}
        answers = [fetch(url + path, body, **headers) for url in (served.url, served.other.url)]
        assert answers[0].status == 200, answers[0].body
        assert answers[0].body == answers[1].body, path


def test_what_else_is_asked(served: Served) -> None:
    assert fetch(f"{served.url}/healthz").json == {"status": 0}
    assert fetch(f"{served.url}/readyz").json["models"] == ["lstm", "cv_sod"]
    mistake = fetch(f"{served.url}/lstm/predict", {"line": 7}, X_Request_ID="asked-1")
    assert (mistake.status, mistake.json["field"], mistake.headers["X-Request-ID"]) == (400, "line", "asked-1")
    chunked = http.client.HTTPConnection("127.0.0.1", served.port)
    body = iter([b'{"line": "', LINE.encode(), b'"}'])
    chunked.request("POST", "/lstm/predict", body, {"Content-Type": "application/json"}, encode_chunked=True)
    assert json.loads(chunked.getresponse().read())["labels"] == "POS"
    for path, sent in (("/v1//models", None), ("/no%2Fsuch//path", None), ("/lstm/predict", b"x" * (3 * 2**20))):
        ours, other = (fetch(url + path, sent, X_Request_ID="asked-2") for url in (served.url, served.other.url))
        assert (ours.status, ours.body) == (other.status, other.body), path


def test_each_request_is_one_line_of_the_access_log_with_the_client(served: Served) -> None:
    fetch(served.url + TEXT, X_Request_ID="looked-for", X_Forwarded_For="192.0.2.7")
    # uWSGI makes its standard output its standard error.
    log = served.home / ("log/app_00.log" if served.server == "uwsgi" else "log/app_00.access.log")

    def found() -> list[dict[str, object]]:
        lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["request_id"] == "looked-for"]

    (entry,) = poll(found, 10, "the line")
    assert (entry["status"], entry["path"], entry["model"]) == (200, "/lstm/predict", "lstm")
    assert entry["client"] == "127.0.0.1", "and not what the client says of itself"


def test_only_nginx_may_speak_uwsgi(served: Served) -> None:
    """A packet may name a file that uWSGI loads as an application. HTTP is for the run folder's group."""
    mode = (served.home / "run/app.sock").stat().st_mode & 0o777
    assert mode == (0o600 if served.server == "uwsgi" else 0o770)


def test_limits_of_the_head(served: Served) -> None:
    """gunicorn has no limit of its own; a uwsgi packet ends at 64 KB."""
    long_line = f"{served.url}/cv_sod/predict?img={'A' * 60_000}"
    if served.server == "gunicorn":
        assert (fetch(long_line).status, fetch(long_line).json["field"]) == (400, "img")
        assert fetch(f"{served.url}/cv_sod/predict?img={'A' * 600_000}").status == 414
        assert fetch(f"{served.url}/healthz", X_1="x" * 60_000).status == 200
        return
    assert fetch(long_line[:-15_000]).json["field"] == "img"
    too_long = fetch(long_line)
    assert (too_long.status, too_long.json["status"]) == (414, 414)
    assert f"the limit of {app_server.MAX_UWSGI_LINE_BYTES} bytes" in too_long.json["detail"]
    large = dict.fromkeys(("X_1", "X_2", "X_3"), "x" * 30_000)
    assert fetch(f"{served.url}/healthz", **large).json["status"] == 431
    assert "too large" in fetch(f"{served.url}/v1/models", **large).json["error"]


def test_a_worker_that_is_killed_is_replaced_and_its_successor_goes_on_counting(served: Served) -> None:
    with served.load(threads=2) as load:
        poll(lambda: load.answered > 20)
        killed, ready = min(served.workers), served.home / "run/app_00.ready"
        ready.unlink()
        os.kill(killed, signal.SIGKILL)
        poll(ready.exists, 30, "a new worker that has loaded the application")
        assert killed not in served.workers and len(served.workers) == WORKERS
        answered = load.answered
        poll(lambda: load.answered > answered + 20)
    assert load.failures == []
    assert served.rows() >= load.answered
    assert len(list((served.home / "run/metrics").glob("histogram_*.db"))) == WORKERS


def test_a_reload_replaces_all_workers(served: Served) -> None:
    master, before = served.master, served.workers
    with served.load(threads=1) as load:
        assert Stack(load_settings(served.variables)).restart() == []
        after = served.workers
    assert load.failures == [] and load.answered
    assert served.master == master and len(after) == WORKERS and not after & before


def test_a_restart_after_the_server_was_changed_says_what_applies_it(served: Served) -> None:
    """Right after another one, which uWSGI has not finished yet."""
    master = served.master
    notices = Stack(load_settings({**served.variables, "WSGIAPP_APP_SERVER": "builtin"})).restart()
    assert any("app.server" in notice and "make down" in notice for notice in notices), notices
    assert served.master == master and len(served.workers) == WORKERS


def test_sigterm_drains(served: Served) -> None:
    """Requests in flight, held up in a model server that is stopped, are answered although SIGTERM came before."""
    model_server = served.other.pids()["modelserver"]
    before = served.workers
    stopping = threading.Thread(target=served.supervisorctl, args=("stop", APP))
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        os.kill(model_server, signal.SIGSTOP)
        try:
            answers = [pool.submit(fetch, served.url + TEXT) for _ in range(IN_FLIGHT)]
            poll(lambda: connections(served) >= IN_FLIGHT, 10, "requests in flight")
            stopping.start()
            log = served.home / "log/app_00.log"
            said = "Handling signal: term" if served.server == "gunicorn" else "graceful shutdown triggered"
            poll(lambda: said in log.read_text(errors="replace"), 10, said)
        finally:
            os.kill(model_server, signal.SIGCONT)
        assert [answer.result().status for answer in answers] == [200] * IN_FLIGHT
    stopping.join()
    poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), 30, "all workers have ended")
    assert fetch(served.url + TEXT).status == 502


def connections(served: Served) -> int:
    """How many connections to the common socket are established on its side."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    # Num RefCount Protocol Flags Type St Inode Path: the state 03 is SS_CONNECTED.
    return sum(line.endswith(f" {served.home}/run/app.sock") and line.split()[5] == "03" for line in lines)


def test_a_server_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = load_settings({"WSGIAPP_HOME": str(tmp_path), "WSGIAPP_APP_SERVER": "uwsgi"})
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))
    with pytest.raises(SettingsError, match=r'app.server = "uwsgi": .*bin/uwsgi is missing; `pip install pyuwsgi`'):
        app_server.command(settings, None)


def test_uwsgi_s_settings(tmp_path: Path) -> None:
    home = tmp_path / "50%"
    settings = load_settings({"WSGIAPP_HOME": str(home), "WSGIAPP_APP_SERVER": "uwsgi"})
    assert re.search(r"/50%%/run/uwsgi\.ini\"$", app_server.command(settings, "nginx")), "supervisord expands %"
    assert app_server.template_values(settings, None)["socket_option"] == "http11-socket"
    limits = app_server.effective_settings(settings).limits
    assert limits.request_line_bytes == app_server.MAX_UWSGI_LINE_BYTES
    small = load_settings({"WSGIAPP_APP_SERVER": "uwsgi", "WSGIAPP_LIMITS_REQUEST_LINE_BYTES": "20000"})
    assert app_server.effective_settings(small).limits.request_line_bytes == 20_000
