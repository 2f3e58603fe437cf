"""The whole stack, through Nginx: predictions, every kind of bad input, processes that die, restarts under load."""

import base64
import http.client
import json
import os
import pickle
import re
import select
import signal
import socket
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from support.http_client import Answer, Load, fetch, multipart, raw_answer
from support.images import huge_png, image_file, photograph
from support.processes import SHARED_DATA, poll
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings
from wsgiapp.web.problems import problem

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")

LINE = "我很喜欢中国银行的产品"
FOUR_BY_FOUR = (
    "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAAXNSR0IArs4c6QAAAARnQU1BAACxjwv8YQUAAAAJcEhZcwAAFiUAABYlAUlSJPAAAAAe"
    "SURBVBhXYwCC____Q0kghoDDhw-jciAKgICBgQEAfYYidT6KA44AAAAASUVORK5CYII="
)
PHOTOGRAPHS = [
    image_file(photograph(300, 200), ".jpg"),
    image_file(photograph(33, 77), ".png"),
    *(path.read_bytes() for path in sorted((SHARED_DATA / "photos").glob("*.jpg"))),
]


def b64(data: bytes | str) -> str:
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).decode()


def text_url(stack: RunningStack, line: str = LINE) -> str:
    return f"{stack.url}/lstm/predict?line={b64(line)}"


def is_positive(body: bytes) -> bool:
    answer = json.loads(body)
    return answer["status"] == 0 and answer["labels"] == "POS"


def test_text_by_get(stack: RunningStack) -> None:
    answer = fetch(text_url(stack))
    assert answer.status == 200 and is_positive(answer.body)
    assert set(answer.json) == {"status", "classes_id", "labels", "softmax", "model"}
    assert answer.json["model"] == {"name": "lstm", "version": 1}
    assert answer.json["classes_id"] == 1
    assert abs(sum(answer.json["softmax"]) - 1) < 1e-5
    assert answer.headers["X-Request-ID"]
    assert fetch(text_url(stack).replace("/lstm", "")).json == answer.json, "the default model"


def test_text_by_post(stack: RunningStack) -> None:
    url = f"{stack.url}/lstm/predict"
    by_get = fetch(text_url(stack)).json
    assert fetch(url, {"line": LINE}).json == by_get
    words = ["非常", "讨厌"]
    negative = fetch(url, {"words": words, "nwords": 2}).json
    assert (negative["status"], negative["labels"]) == (0, "NEG")
    several = fetch(url, {"lines": [LINE, "非常讨厌"]}).json
    assert several["status"] == 0
    assert [each["labels"] for each in several["results"]] == ["POS", "NEG"]
    np.testing.assert_allclose(several["results"][0]["softmax"], by_get["softmax"], atol=1e-5)
    for literal in (json.dumps(words), b64(json.dumps(words)), b64(str(words))):
        assert fetch(f"{url}?words={quote(literal)}").json == negative


def test_an_image_in_a_url(stack: RunningStack) -> None:
    answer = fetch(f"{stack.url}/cv_sod/predict?img={FOUR_BY_FOUR}").json
    assert (answer["status"], answer["encoding"], answer["shape"]) == (0, "png", [4, 4])
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(answer["img_out"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (4, 4)


@pytest.mark.parametrize("file", PHOTOGRAPHS, ids=len)
def test_every_form_of_an_image_gives_the_same_mask(stack: RunningStack, file: bytes) -> None:
    url = f"{stack.url}/cv_sod/predict"
    body, content_type = multipart("img", "photo.jpg", file)
    answers = [
        fetch(f"{url}?img={b64(file)}"),
        fetch(f"{url}?img={quote(base64.b64encode(file))}"),
        fetch(url, body, Content_Type=content_type),
        fetch(url, {"img": b64(file)}),
        fetch(url, file, Content_Type="image/jpeg"),
    ]
    assert [answer.status for answer in answers] == [200] * 5
    assert len({answer.body for answer in answers}) == 1
    bare = fetch(url, file, Content_Type="image/jpeg", Accept="image/png")
    assert bare.headers["Content-Type"] == "image/png"
    assert bare.body == base64.b64decode(answers[0].json["img_out"])
    mask = cv2.imdecode(np.frombuffer(bare.body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert list(mask.shape) == answers[0].json["shape"]
    assert mask.min() < 64 and mask.max() > 192, "stretched, before it is resized"
    pickled = fetch(f"{url}?encoding=pickle", file, Content_Type="image/jpeg").json
    np.testing.assert_array_equal(pickle.loads(base64.b64decode(pickled["img_out"])), mask)


TEXT_MISTAKES: list[tuple[str, str, Any, int, str]] = [
    ("no line", "", None, 400, "line"),
    ("an empty line", "?line=", None, 400, "line"),
    ("a blank line", f"?line={b64('  ')}", None, 400, "line"),
    ("base64 that does not decode", "?line=%21%21%21", None, 400, "line"),
    ("bytes that are not UTF-8", f"?line={b64('好'.encode('gbk'))}", None, 400, "line"),
    ("text over the limit", "", {"line": "好" * 10_001}, 413, "line"),
    ("JSON that is cut off", "", b'{"line": "\xe5\xa5\xbd', 400, "body"),
    ("a list for an object", "", b'["line"]', 400, "body"),
    ("nwords that disagrees", "", {"words": ["好"], "nwords": 2}, 400, "nwords"),
    ("code for words", "", {"words": "__import__('os')"}, 400, "words"),
    ("code for words in a URL", f"?words={quote('[__import__(chr(111))]')}", None, 400, "words"),
    ("a body over the limit", "", b'{"line": "' + b"a" * (2 * 2**20) + b'"}', 413, "body"),
]


@pytest.mark.parametrize(
    ("query", "body", "status", "field"), [row[1:] for row in TEXT_MISTAKES], ids=[row[0] for row in TEXT_MISTAKES]
)
def test_mistakes_in_text(stack: RunningStack, query: str, body: Any, status: int, field: str) -> None:
    expect_problem(fetch(f"{stack.url}/lstm/predict{query}", body), status, field)


JPEG = image_file(photograph(300, 200), ".jpg")
IMAGE_MISTAKES = [
    ("no image", b"{}", "application/json", 400),
    ("not an image", b"hello", "image/jpeg", 400),
    ("an empty file", b"", "image/jpeg", 400),
    ("a truncated JPEG", JPEG[: len(JPEG) // 2], "image/jpeg", 400),
    ("a bomb", huge_png(40_000, 40_000), "image/png", 413),
]


@pytest.mark.parametrize(
    ("body", "kind", "status"), [row[1:] for row in IMAGE_MISTAKES], ids=[row[0] for row in IMAGE_MISTAKES]
)
def test_mistakes_in_images(stack: RunningStack, body: bytes, kind: str, status: int) -> None:
    answer = fetch(f"{stack.url}/cv_sod/predict", body, Content_Type=kind)
    expect_problem(answer, status, "img")
    assert answer.seconds < 5
    file, content_type = multipart("img", "x", body)
    if kind != "application/json":
        expect_problem(fetch(f"{stack.url}/cv_sod/predict", file, Content_Type=content_type), status, "img")


def expect_problem(answer: Any, status: int, field: str | None) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.body
    problem = answer.json
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers.get("X-Request-ID", problem["request_id"])
    if field:
        assert problem["detail"].startswith(f"{field}: ")
        assert problem["field"] == field


def test_mistakes_in_the_request_itself(stack: RunningStack) -> None:
    too_long = fetch(f"{stack.url}/lstm/predict?line={'A' * (600 * 1024)}")
    expect_problem(too_long, 414, None)
    put = fetch(f"{stack.url}/lstm/predict", b"{}", method="PUT")
    expect_problem(put, 405, None)
    assert {"GET", "POST"} <= {name.strip() for name in put.headers["Allow"].split(",")}
    expect_problem(fetch(f"{stack.url}/nosuch/predict?line=YQ"), 404, None)
    expect_problem(fetch(f"{stack.url}/nosuch"), 404, None)
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as client:
        client.sendall(b"GARBAGE\r\n\r\n")
        assert b'"status":400' in client.makefile("rb").read()
    assert is_positive(fetch(text_url(stack)).body)


def test_http_1_0_without_a_host(stack: RunningStack) -> None:
    """HAProxy's and Nagios's health checks send none."""
    text = text_url(stack).removeprefix(stack.url)
    for path in ("/healthz", "/readyz", text, "/v1/models/lstm", "/v1/models"):
        for version in ("HTTP/1.0", "HTTP/1.1\r\nHost: h\r\nConnection: close"):
            status, body = raw_answer(stack.port, f"GET {path} {version}\r\n\r\n")
            assert (status, body.get("status", 0)) == (200, 0), (path, version)
        status, body = raw_answer(stack.port, f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n")
        error = "error" if path.startswith("/v1/") else "detail"
        assert (status, body[error]) == (400, "the request is not well-formed HTTP"), "RFC 9112, 3.2"


def test_targets_as_proxies_are_sent_them(stack: RunningStack) -> None:
    """RFC 9112, 3.2.2."""
    end = " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    assert raw_answer(stack.port, f"GET http://h{text_url(stack).removeprefix(stack.url)}{end}")[1]["status"] == 0
    assert raw_answer(stack.port, f"GET http://h/v1/models/lstm{end}")[1]["model_version_status"]
    unknown = raw_answer(stack.port, f"POST http://h/v1/models/lstm:explain{end}")
    assert unknown == (400, {"error": "Malformed request: POST /v1/models/lstm:explain"})
    too_long = raw_answer(stack.port, f"GET http://h/v1/models/{'a' * 600_000}{end}")
    assert too_long[0] == 414 and "error" in too_long[1]


def test_raw_bytes_in_a_query(stack: RunningStack) -> None:
    end = b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    status, body = raw_answer(stack.port, b"GET /lstm/predict?line=\xce\xd2" + end)
    assert (status, body["field"]) == (400, "line")
    assert raw_answer(stack.port, b"GET /lstm/predict?line=5aW9&u=\xce\xd2" + end)[0] == 200


def test_ids_go_through_and_requests_are_logged(stack: RunningStack) -> None:
    assert fetch(text_url(stack), X_Request_ID="trace-me-1").headers["X-Request-ID"] == "trace-me-1"
    rejected = fetch(f"{stack.url}/lstm/predict?line={'A' * (600 * 1024)}", X_Request_ID="trace-me-2")
    assert rejected.status == 414

    def logged(pattern: str) -> list[Any]:
        lines = [line for path in stack.home.glob(f"log/{pattern}") for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    line = poll(lambda: [each for each in logged("app_*.access.log") if each["request_id"] == "trace-me-1"], 10)[0]
    assert (line["status"], line["model"], line["path"], line["client"]) == (200, "lstm", "/lstm/predict", "127.0.0.1")
    assert poll(lambda: [each for each in logged("nginx.access.log") if each["status"] == 414], 10)


def test_health_and_readiness(stack: RunningStack) -> None:
    assert fetch(f"{stack.url}/healthz").json == {"status": 0}
    assert fetch(f"{stack.url}/readyz").json == {"status": 0, "models": ["lstm", "cv_sod"]}


def test_a_request_has_one_deadline_from_nginx_to_the_model_server(stack: RunningStack) -> None:
    """Its own, shorter one counts; when it began only Nginx says; what makes no sense is the client's fault."""
    pid = stack.pids()["modelserver"]
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = fetch(text_url(stack), X_Request_Timeout="0.3")
        expect_problem(answer, 504, None)
        assert 0.25 < answer.seconds < 3
    finally:
        os.kill(pid, signal.SIGCONT)
    poll(lambda: fetch(text_url(stack)).status == 200, 30)
    for wrong in ("0", "-1", "soon", "1e3", "nan"):
        expect_problem(fetch(text_url(stack), X_Request_Timeout=wrong), 400, "X-Request-Timeout")
    expect_problem(fetch(text_url(stack), X_Priority="high"), 400, "X-Priority")
    long_ago = f"{time.time() - 30:.3f}"
    assert fetch(text_url(stack), X_Request_Start=long_ago, X_Priority="batch", X_Request_Timeout="4").status == 200


def batch_rows(stack: RunningStack) -> float:
    """The rows that all workers have sent to the text model."""
    text = fetch(f"{stack.url}/metrics").body.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return float(lines['wsgiapp_batch_rows_sum{model="lstm"}'])


def test_the_counters_of_all_workers_are_added_up_and_outlive_them(stack: RunningStack) -> None:
    with Load(text_url(stack), is_positive, threads=8) as load:
        poll(lambda: load.answered > 40)
    files = {path.name for path in (stack.home / "run/metrics").iterdir()}
    kinds = ("counter", "gauge_livesum", "histogram")
    assert files == {f"{kind}_app-{number}.db" for kind in kinds for number in ("00", "01")}
    before = batch_rows(stack)
    assert {batch_rows(stack) for _ in range(10)} == {before}, "both workers answer alike"
    assert before >= load.answered
    pid = stack.pids()["app:app_00"]
    os.kill(pid, signal.SIGKILL)
    poll(lambda: stack.pids().get("app:app_00", pid) != pid, 60, "a new app:app_00")
    assert is_positive(fetch(text_url(stack)).body)
    poll(lambda: batch_rows(stack) >= before + 1, 10)
    assert {path.name for path in (stack.home / "run/metrics").iterdir()} == files


def test_the_model_server_down(stack: RunningStack) -> None:
    stack.supervisorctl("stop", "modelserver")
    answer = fetch(text_url(stack))
    expect_problem(answer, 503, None)
    assert answer.headers["Retry-After"] == "1"
    assert answer.seconds < 1
    ready = fetch(f"{stack.url}/readyz")
    assert ready.status == 503 and len(ready.json["missing"]) == 2
    assert fetch(f"{stack.url}/healthz").status == 200
    stack.supervisorctl("start", "modelserver")
    poll(lambda: fetch(text_url(stack)).status == 200, 60)


def test_the_model_server_hanging(stack: RunningStack) -> None:
    pid = stack.pids()["modelserver"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with Load(text_url(stack), lambda body: True, threads=8):
            poll(lambda: fetch(f"{stack.url}/healthz", timeout=5).seconds < 1, 10)
            answer = fetch(text_url(stack))
            expect_problem(answer, 504, None)
            assert 4.5 < answer.seconds < 8
            health = fetch(f"{stack.url}/healthz")
            assert health.status == 200 and health.seconds < 1
            ready = fetch(f"{stack.url}/readyz")
            assert ready.status == 503 and ready.seconds < 3
            os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)
    poll(lambda: fetch(text_url(stack)).status == 200, 30)


def test_nginx_rejects_predictions_when_the_workers_are_full(tmp_path_factory: pytest.TempPathFactory) -> None:
    full = RunningStack(tmp_path_factory.mktemp("full"))
    full.variables["WSGIAPP_LIMITS_INFLIGHT"] = "16"  # so that Nginx lets 8 through to each of two workers, and 8 more
    wait_for_predictions(full)
    words = "24 predictions are in flight; try again in a moment"
    try:
        up = full.wsgiapp("up")
        assert up.returncode == 0, up.stderr
        os.kill(full.pids()["modelserver"], signal.SIGSTOP)
        clients = [http.client.HTTPConnection("127.0.0.1", full.port, timeout=60) for _ in range(28)]
        for client in clients:
            post(client, "/lstm/predict", {"line": LINE})
        rejected = poll(lambda: found if len(found := answered(clients)) == 4 else None)

        client, other = rejected[:2]
        sockets = client.sock, other.sock
        by_nginx = read(client)
        assert (by_nginx.status, by_nginx.headers["Content-Type"]) == (503, "application/problem+json")
        assert by_nginx.headers["Retry-After"] == "1"
        assert by_nginx.body == problem(503, words, by_nginx.json["request_id"]).body, "to the letter as a worker does"
        read(other)
        post(other, "/v1/models/lstm:predict", {"instances": []})
        like_tf_serving = read(other)
        assert (like_tf_serving.status, like_tf_serving.headers["Content-Type"]) == (503, "application/json")
        assert like_tf_serving.headers["Retry-After"] == "1"
        assert like_tf_serving.json == {"error": words}
        assert fetch(text_url(full)).status == 503, "by GET, too"
        picture = http.client.HTTPConnection("127.0.0.1", full.port, timeout=60)
        picture.request("POST", "/cv_sod/predict", image_file(photograph(), ".png"), {"Content-Type": "image/png"})

        assert fetch(f"{full.url}/healthz").json == {"status": 0}
        assert len(fetch(f"{full.url}/readyz").json["missing"]) == 2
        assert "wsgiapp_batch_rows_sum" in fetch(f"{full.url}/metrics").body.decode()
        assert fetch(f"{full.url}/").status == 200
        assert fetch(f"{full.url}/v1/config").status == 403, "without a token in the settings"

        os.kill(full.pids()["modelserver"], signal.SIGCONT)
        for waiting in set(clients) - set(rejected):
            assert is_positive(read(waiting).body)
        assert read(picture).status == 200, "another model has places of its own, at Nginx and in the workers"
        counters = fetch(f"{full.url}/metrics").body.decode()
        assert re.search(r'wsgiapp_concurrency_limit\{model="cv_sod",size="usual"\} [1-9]', counters)
        post(client, "/lstm/predict", {"line": LINE})
        assert is_positive(read(client).body)
        assert (client.sock, other.sock) == sockets, "connections outlive a rejection"

        def logged() -> list[Any]:
            lines = (full.home / "log/nginx.access.log").read_text().splitlines()
            return [each for each in map(json.loads, lines) if each["request_id"] == by_nginx.json["request_id"]]

        (line,) = poll(logged, 10)
        assert (line["status"], line["upstream_status"], line["path"]) == (503, "502", "/lstm/predict")
        assert "no live upstreams" not in (full.home / "log/nginx.log").read_text(), "a line for each would cost more"
    finally:
        full.wsgiapp("down")


def wait_for_predictions(stack: RunningStack) -> None:
    """However busy the machine is."""
    path = stack.home / "conf/wsgiapp.toml"
    path.write_text(re.sub(r"(?m)^deadline_seconds = .*$", "deadline_seconds = 60", path.read_text()))


def post(client: http.client.HTTPConnection, path: str, fields: Any) -> None:
    client.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})


def answered(clients: list[http.client.HTTPConnection]) -> list[http.client.HTTPConnection]:
    """Those whose answer has come."""
    readable = select.select([client.sock for client in clients], [], [], 0)[0]
    return [client for client in clients if client.sock in readable]


def read(client: http.client.HTTPConnection) -> Answer:
    response = client.getresponse()
    return Answer(response.status, dict(response.getheaders()), response.read(), 0.0)


@pytest.mark.parametrize("name", ["app:app_00", "nginx", "modelserver"])
def test_a_killed_process_comes_back(stack: RunningStack, name: str) -> None:
    pid = stack.pids()[name]
    os.kill(pid, signal.SIGKILL)
    poll(lambda: stack.pids().get(name, pid) != pid, 60, f"a new {name}")
    stack.wait_until_ready()
    poll(lambda: answers(stack), 30)  # Nginx's orphaned workers have answered until the new one takes the port


def test_a_killed_nginx_worker_comes_back(stack: RunningStack) -> None:
    master = stack.pids()["nginx"]
    children = map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split())
    worker = next(pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "nginx\n")
    os.kill(worker, signal.SIGKILL)
    poll(lambda: answers(stack), 30)


def answers(stack: RunningStack) -> bool:
    try:
        return is_positive(fetch(text_url(stack)).body)
    except OSError:
        return False


def test_a_worker_killed_under_load_loses_no_request(stack: RunningStack) -> None:
    with Load(text_url(stack), is_positive, threads=12) as load:
        poll(lambda: load.answered > 200)
        pid = stack.pids()["app:app_01"]
        os.kill(pid, signal.SIGKILL)
        poll(lambda: stack.pids().get("app:app_01", pid) != pid, 60)
        seen = load.answered
        poll(lambda: load.answered > seen + 200)
    assert not load.failures, load.failures[:5]


def test_new_connections_wait_for_whoever_was_killed(stack: RunningStack) -> None:
    """supervisord holds the sockets: connections are neither rejected nor reset while nobody accepts."""
    with Load(text_url(stack), is_positive, threads=4, keep_alive=False) as load:
        for names in (["nginx"], ["app:app_00", "app:app_01"]):
            before, answered = stack.pids(), load.answered
            poll(lambda answered=answered: load.answered > answered + 20)
            for name in names:
                os.kill(before[name], signal.SIGKILL)
            poll(
                lambda names=names, before=before: all(
                    stack.pids().get(each, 0) not in (0, before[each]) for each in names
                )
            )
        stack.supervisorctl("restart", "nginx")
        answered = load.answered
        poll(lambda: load.answered > answered + 20)
    assert not load.failures, load.failures[:5]


def may_take_sockets() -> bool:
    """Whether this user may have the descriptors of another process (pidfd_getfd(2))."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"


def test_workers_get_equal_shares_also_after_one_came_back(stack: RunningStack) -> None:
    def are_even() -> bool:
        """Whether each worker gets its share of requests that come one after the other: none is ever busier."""
        mark = uuid.uuid4().hex
        for number in range(60):
            assert is_positive(fetch(text_url(stack), X_Request_ID=f"{mark}-{number}").body)

        def logged() -> list[int] | None:  # workers write their logs in blocks
            got = [(stack.home / f"log/app_{each:02d}.access.log").read_text().count(mark) for each in range(2)]
            return got if sum(got) == 60 else None

        return bool(min(poll(logged)) > 24)

    poll(are_even)  # a worker that was killed before may be on its way back
    assert are_even()
    pid = stack.pids()["app:app_00"]
    os.kill(pid, signal.SIGKILL)
    poll(lambda: stack.pids().get("app:app_00", pid) != pid, 60)
    poll(are_even)
    assert are_even()


def test_a_rolling_restart_under_load_loses_no_request(stack: RunningStack) -> None:
    before = stack.pids()
    with Load(text_url(stack), is_positive, threads=12) as load:
        poll(lambda: load.answered > 200)
        restarted = stack.wsgiapp("restart")
        assert restarted.returncode == 0, restarted.stderr
        seen = load.answered
        poll(lambda: load.answered > seen + 200)
    assert not load.failures, load.failures[:5]
    after = stack.pids()
    assert {name for name in before if before[name] != after[name]} == {"app:app_00", "app:app_01"}


def test_a_restart_leaves_a_broken_models_config_to_the_check(stack: RunningStack) -> None:
    """It is not active, and so not what the model server would start with, if it died now."""
    file = stack.home / "conf/models.config"
    whole, taken = file.read_text(), (stack.home / "run/models.config").read_text()
    file.write_text("improperly formatted file")
    try:
        assert stack.wsgiapp("restart").returncode == 0
        assert "Error parsing text-format" in stack.wsgiapp("models", "reload").stderr
        assert (stack.home / "run/models.config").read_text() == taken
        assert is_positive(fetch(text_url(stack)).body)
    finally:
        file.write_text(whole)


def test_a_second_up_is_harmless(stack: RunningStack) -> None:
    before = stack.pids()
    started = time.monotonic()
    up = stack.wsgiapp("up")
    assert up.returncode == 0, up.stderr
    assert stack.url in up.stdout
    assert time.monotonic() - started < 15
    assert stack.pids() == before


def test_status(stack: RunningStack) -> None:
    status = stack.wsgiapp("status")
    assert status.returncode == 0
    assert [line.split()[1] for line in status.stdout.splitlines()] == ["RUNNING"] * 4


def processes_of(home: Path) -> list[str]:
    """The command lines that name a home folder; Nginx's children name nothing but are in its master's group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(entry.name) != os.getpid() and (str(home) in line or f"WSGIAPP_HOME={home}\0" in environment):
            found.append(f"{entry.name} {line}")
    return found


def test_a_second_stack_beside_the_first_goes_without_a_trace(
    stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    second = RunningStack(tmp_path_factory.mktemp("second"))
    wait_for_predictions(second)
    taken = second.wsgiapp("up", WSGIAPP_HTTP_PORT=str(stack.port))
    assert taken.returncode == 1
    assert f"http.port: cannot listen on 127.0.0.1:{stack.port}" in taken.stderr
    try:
        up = second.wsgiapp("up")
        assert up.returncode == 0, up.stderr
        assert is_positive(fetch(text_url(second)).body) and is_positive(fetch(text_url(stack)).body)
        with Load(text_url(second), is_positive, threads=2, keep_alive=False) as load:
            os.kill(int((second.home / "run/supervisord.pid").read_text()), signal.SIGKILL)
            again = second.wsgiapp("up")  # starts all of it beside what the killed supervisord left behind
            assert again.returncode == 0, again.stderr
            before = second.pids()
            if may_take_sockets():
                upgrade = second.second_terminal().wsgiapp("upgrade")
                assert (upgrade.returncode, upgrade.stdout) == (0, "all processes replaced\n"), upgrade.stderr
                assert not set(second.pids().values()) & set(before.values())
        assert not load.failures or not may_take_sockets(), load.failures[:5]
        assert is_positive(fetch(text_url(second)).body)
        os.kill(second.pids()["nginx"], signal.SIGKILL)
    finally:
        down = second.wsgiapp("down")
    assert down.returncode == 0, down.stderr
    assert processes_of(second.home) == []
    assert [path for path in (second.home / "run").iterdir() if path.is_socket()] == []
    for port in (second.port, second.backend_port):
        socket.create_server(("127.0.0.1", port)).close()
    assert second.wsgiapp("down").returncode == 0
    assert second.wsgiapp("status").returncode != 0
    assert is_positive(fetch(text_url(stack)).body)


def test_a_model_server_that_is_there_already(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> None:
    guest = RunningStack(tmp_path_factory.mktemp("guest"))
    guest.variables |= {
        "WSGIAPP_APP_BACKEND": "external",
        "WSGIAPP_BACKEND_ADDRESS": f"127.0.0.1:{stack.backend_port}",
    }
    try:
        up = guest.wsgiapp("up")
        assert up.returncode == 0, up.stderr
        assert set(guest.pids()) == {"app:app_00", "app:app_01", "nginx"}
        assert is_positive(fetch(text_url(guest)).body)
    finally:
        guest.wsgiapp("down")


def test_without_nginx_and_with_a_unix_socket_to_the_model_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    bare = RunningStack(tmp_path_factory.mktemp("bare"))
    bare.variables["WSGIAPP_NGINX_BINARY"] = ""
    bare.variables["WSGIAPP_BACKEND_ADDRESS"] = f"unix:{bare.home}/run/serving.sock"
    try:
        up = bare.wsgiapp("up")
        assert up.returncode == 0, up.stderr
        assert set(bare.pids()) == {"app:app_00", "app:app_01", "modelserver"}
        with Load(text_url(bare), is_positive, threads=2) as load:
            poll(lambda: load.answered > 200)
        assert not load.failures
        assert fetch(f"{bare.url}/lstm/predict?line={'A' * (600 * 1024)}").status == 414
    finally:
        bare.wsgiapp("down")
    assert processes_of(bare.home) == []
