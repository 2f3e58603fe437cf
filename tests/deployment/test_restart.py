"""A stack that people work on: mistakes in its configuration and what is typed after mending them, own additions."""

import json
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http_client import fetch
from support.processes import poll
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.supervisor import Supervisor
from wsgiapp.errors import StackError
from wsgiapp.settings.loading import load_settings
from wsgiapp.web.problems import DETAIL_BY_STATUS

WORKER = "app:app_00"
PYTHON = shlex.quote(sys.executable)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that tests may break, in a folder of an odd name, and in the shell of a company with a proxy."""
    stack = RunningStack(tmp_path_factory.mktemp("own") / "50% 家 b")
    stack.variables |= {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": ""}
    stack.variables["WSGIAPP_BACKEND_DEADLINE_SECONDS"] = "1"
    settings = stack.home / "conf/wsgiapp.toml"  # Nginx waits 5 s longer than the longest deadline
    settings.write_text(re.sub(r"(?m)^deadline_seconds = .*$", "deadline_seconds = 1", settings.read_text()))
    yield from running(stack)


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack whose workers do not start for a while; on a busy machine they take longer than a second to fail."""
    yield from running(RunningStack(tmp_path_factory.mktemp("mistaken"), as_deployed=True))


def running(stack: RunningStack) -> Iterator[RunningStack]:
    if find_nginx(load_settings({})) is None:
        pytest.skip("Nginx is not installed")
    try:
        up = stack.wsgiapp("up")
        assert up.returncode == 0, up.stderr + stack.logs()
        yield stack
    finally:
        stack.wsgiapp("down")


def state(stack: RunningStack, name: str = WORKER) -> str:
    return stack.supervisorctl("status", name).split()[1]


def replaced(path: Path, old: str, new: str) -> str:
    """The text before."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    return before


def test_a_restart_after_a_typo_was_mended(mistaken: RunningStack) -> None:
    settings = mistaken.home / "conf/wsgiapp.toml"
    before = replaced(settings, '"segmented_text"', '"segmented_txt"')
    failed = mistaken.wsgiapp("restart")
    assert failed.returncode == 1
    assert "app:app_00 does not start" in failed.stderr and 'pipeline = "segmented_txt"' in failed.stderr
    assert "Traceback" not in failed.stderr
    assert fetch(f"{mistaken.url}/readyz").status == 200, "the other worker still serves"
    poll(lambda: state(mistaken) == "BACKOFF", 30, "BACKOFF")

    settings.write_text(before)
    mended = mistaken.wsgiapp("restart")
    assert mended.returncode == 0, mended.stderr
    assert "all workers restarted" in mended.stdout and "Traceback" not in mended.stderr
    mistaken.wait_until_ready()


def test_up_after_a_typo_was_mended(mistaken: RunningStack) -> None:
    """It does not wait for supervisord's next attempt, nor takes the last one's failure for its own."""
    settings = mistaken.home / "conf/wsgiapp.toml"
    before = replaced(settings, '"segmented_text"', '"segmented_txt"')
    try:
        os.kill(mistaken.pids()[WORKER], signal.SIGKILL)
        poll(lambda: state(mistaken) == "BACKOFF", 30, "BACKOFF")
        failed = mistaken.wsgiapp("up")
        assert failed.returncode == 1 and "app:app_00 does not start" in failed.stderr
        poll(lambda: state(mistaken) == "BACKOFF", 30, "BACKOFF")
    finally:
        settings.write_text(before)
    mended = mistaken.wsgiapp("up")
    assert (mended.returncode, mended.stderr) == (0, "")
    assert mistaken.is_ready()


def test_a_home_of_an_odd_name(own: RunningStack) -> None:
    """Its path is what the processes get and what the logs are in, however often supervisord expands a `%`."""
    pids = own.pids()
    del pids["nginx"]  # which writes its title over what it was given
    for name, pid in pids.items():
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert f"WSGIAPP_HOME={own.home}".encode() in environment, name
        assert f"KERAS_HOME={own.home}/cache/keras".encode() in environment, name
    logs = {f"{name}.log" for name in ("app_00", "app_01", "app_00.access", "app_01.access", "modelserver", "nginx")}
    assert {path.name for path in (own.home / "log").iterdir()} >= logs
    answered = fetch(f"{own.url}/readyz")
    assert (answered.status, answered.json["models"]) == (200, ["lstm", "cv_sod"])


def test_a_second_terminal_speaks_of_the_same_stack(own: RunningStack) -> None:
    """Though it has none of the variables; its others do not count, and a change that waits is named."""
    other = own.second_terminal()
    assert other.wsgiapp("status").returncode == 0
    settings = own.home / "conf/wsgiapp.toml"
    before = settings.read_text()
    settings.write_text(before + '[http]\nhost = "0.0.0.0"\n')
    try:
        up = other.wsgiapp("up", WSGIAPP_HTTP_PORT="1")
    finally:
        settings.write_text(before)
    assert up.returncode == 0, up.stderr
    assert up.stdout.splitlines() == [
        f"wsgiapp is ready at {own.url}",
        'http.host = "0.0.0.0": not applied, it is "127.0.0.1"; `make down && make up` applies it',
    ]
    ignored = f'WSGIAPP_HTTP_PORT: ignored, the stack was started with "{own.port}"; `make down && make up` applies it'
    assert up.stderr == f"wsgiapp: {ignored}\n"


def test_a_table_that_the_model_server_has_nothing_for(own: RunningStack) -> None:
    """It is found before a worker is stopped: all of them would be unready."""
    before = own.pids()
    text = replaced(own.home / "conf/wsgiapp.toml", "[models.lstm]\n", '[models.lstm]\nlabel = "canary"\n')
    try:
        failed = own.wsgiapp("restart")
    finally:
        (own.home / "conf/wsgiapp.toml").write_text(text)
    assert failed.returncode == 1
    words = "lstm: wsgiapp.toml asks for the label 'canary', which models.config does not have; it has none"
    assert failed.stderr.splitlines()[-1] == words
    assert own.pids() == before and own.is_ready()


def test_an_address_that_nginx_cannot_have(own: RunningStack) -> None:
    """`nginx -t` accepts it, and the master that is told to reload does not: nothing changes, and that is said."""
    before = own.pids()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        mine = own.home / "conf/nginx.d/mine.conf"
        mine.write_text(f"listen {address};\n")
        failed = own.wsgiapp("restart")
        mine.unlink()
    assert failed.returncode == 1
    assert "Nginx keeps its old configuration, and nothing was restarted: " in failed.stderr
    assert f"bind() to {address} failed (98: Address already in use)\nstill could not bind()" in failed.stderr
    assert list((own.home / "run/nginx.d").iterdir()) == [], "the next Nginx starts with what this one has"
    assert own.pids() == before and own.is_ready()


@pytest.mark.parametrize("name", ["nginx", "modelserver"])
def test_a_restart_starts_what_else_does_not_run(own: RunningStack, name: str) -> None:
    own.supervisorctl("stop", name)
    assert state(own, name) == "STOPPED"
    assert own.wsgiapp("restart").returncode == 0
    own.wait_until_ready()


def test_a_restart_where_a_worker_is_stopped_or_was_killed(own: RunningStack) -> None:
    own.supervisorctl("stop", WORKER)
    assert state(own) == "STOPPED"
    assert own.second_terminal().wsgiapp("restart").returncode == 0
    os.kill(own.pids()["app:app_01"], signal.SIGKILL)
    assert own.wsgiapp("restart").returncode == 0
    own.wait_until_ready()


def test_every_call_may_find_that_it_was_done_already(own: RunningStack) -> None:
    """Between a look at a process and a call somebody else may have acted."""
    supervisor = Supervisor(own.home / "run")
    supervisor.start(WORKER)
    supervisor.stop(WORKER)
    supervisor.stop(WORKER)
    supervisor.signal(WORKER, "HUP")
    supervisor.start(WORKER)
    supervisor.start(WORKER)
    with pytest.raises(StackError, match=r"app:app_77: supervisord cannot do startProcess: BAD_NAME"):
        supervisor._call("startProcess", "app:app_77", False)
    own.wait_until_ready()


def test_locations_of_ones_own(own: RunningStack) -> None:
    folder = own.home / "conf/nginx.d"
    (folder / "mine.conf").write_text("location = /mine { return 200 'mine, @{http_port}'; }\n")
    assert own.wsgiapp("restart").returncode == 0
    poll(lambda: fetch(f"{own.url}/mine").body == f"mine, {own.port}".encode(), 20, "the own location")

    (folder / "mine.conf").write_text("locations = /mine { return 200 'other'; }\n")
    failed = own.wsgiapp("restart")
    assert failed.returncode == 1
    assert (
        "Nginx does not accept its configuration" in failed.stderr and 'unknown directive "locations"' in failed.stderr
    )
    assert fetch(f"{own.url}/mine").status == 200, "Nginx keeps what it has"

    (folder / "mine.conf").unlink()
    assert own.wsgiapp("restart").returncode == 0
    poll(lambda: fetch(f"{own.url}/mine").status == 404, 20, "no own location")


SLEEPING = """
[program:mine]
command="@{python}" -c "import time; time.sleep(600)"
startsecs=0
"""
LEFT_ALONE = """
[program:stopped]
command=sleep 600
autostart=false
[program:once]
command=true
startsecs=0
autorestart=false
"""


def test_programs_of_ones_own(own: RunningStack) -> None:
    """They start with the others; nothing waits for one that does not run."""
    program = own.home / "conf/supervisor.d/mine.conf"
    program.write_text(SLEEPING + LEFT_ALONE)
    restart = own.wsgiapp("restart")
    assert restart.returncode == 0, restart.stderr
    assert "all workers restarted\nsupervisord's own settings changed; `make down` and `make up`" in restart.stdout
    assert own.wsgiapp("down").returncode == 0
    up = own.wsgiapp("up")
    assert up.returncode == 0, up.stderr
    assert state(own, "mine") == "RUNNING"
    poll(lambda: (state(own, "stopped"), state(own, "once")) == ("STOPPED", "EXITED"), 20, "what was asked for")
    for command in ("up", "restart"):
        assert own.wsgiapp(command).returncode == 0
    assert state(own, "stopped") == "STOPPED"

    program.unlink()
    assert own.wsgiapp("down").returncode == 0
    assert own.wsgiapp("up").returncode == 0
    assert "mine" not in own.pids()
    own.wait_until_ready()


def test_a_mistake_in_a_program_of_ones_own(own: RunningStack) -> None:
    """It is found before anything is stopped or written, and the user's own file is named."""
    program = own.home / "conf/supervisor.d/mine.conf"
    before = sorted((own.home / "run/supervisor.d").iterdir())
    for text, words in (("[program:mine]\n", "does not specify a command"), ("command=true\n", "no section headers")):
        program.write_text(text)
        failed = own.wsgiapp("restart")
        assert failed.returncode == 1
        assert "supervisord does not accept its configuration" in failed.stderr and words in failed.stderr
        assert str(program) in failed.stderr and "Traceback" not in failed.stderr
    program.unlink()
    assert sorted((own.home / "run/supervisor.d").iterdir()) == before
    assert own.is_ready()


@pytest.mark.parametrize(("command", "status"), [("status", 141), ("restart", 141), ("logs", 141)])
def test_a_reader_that_has_seen_enough(own: RunningStack, command: str, status: int) -> None:
    """As `wsgiapp status | head -0` has it, with errors in the same pipe."""
    script = f"({PYTHON} -m wsgiapp.cli {command} 2>&1; echo status $? >&2) | :"
    assert own.bash(script).stderr == f"status {status}\n"


def test_two_that_stop_the_stack_at_once(own: RunningStack) -> None:
    down = f"{PYTHON} -m wsgiapp.cli down"
    done = own.bash(f"{down} & {down} && wait $!")
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\nstopped\n", "")
    assert own.wsgiapp("up").returncode == 0
    own.wait_until_ready()


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_nginx_s_own_errors_are_the_application_s(own: RunningStack, prefix: str) -> None:
    own.supervisorctl("stop", "app:*")
    try:
        answers = [
            fetch(f"{own.url}{prefix}/models/lstm:predict", bytes(3 * 2**20)),
            fetch(f"{own.url}{prefix}/x?{'a' * 600_000}"),
        ]
        assert [answer.status for answer in answers] == [413, 414]
        details = [
            f"body: larger than the limit of {2 * 2**20} bytes",
            f"the request line is longer than the limit of {512 * 1024} bytes; send large values by POST",
        ]
        if prefix:
            assert [answer.json for answer in answers] == [{"error": detail} for detail in details]
            assert {answer.headers["Content-Type"] for answer in answers} == {"application/json"}
        else:
            assert [answer.json["detail"] for answer in answers] == details
            assert [answer.json["title"] for answer in answers] == ["Content Too Large", "URI Too Long"]
            assert {answer.headers["Content-Type"] for answer in answers} == {"application/problem+json"}
    finally:
        own.supervisorctl("start", "app:*")
        own.wait_until_ready()


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_requests_that_nginx_itself_rejects(own: RunningStack, prefix: str) -> None:
    form = {"": "application/problem+json", "/v1": "application/json"}[prefix]
    for header, status in ((b"Host: a b", 400), (b"Host: a\r\nX-Large: " + b"a" * 600_000, 431)):
        answer = sent_as_it_is(own.port, f"GET {prefix}/models/lstm HTTP/1.1\r\n".encode() + header + b"\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode()) and f"Content-Type: {form}\r\n".encode() in head
        answered = json.loads(body)
        assert answered["detail" if form.endswith("problem+json") else "error"] == DETAIL_BY_STATUS[status]


def sent_as_it_is(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_workers_that_do_not_answer_in_time(own: RunningStack) -> None:
    workers = [pid for name, pid in own.pids().items() if name.startswith("app:")]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        answer = fetch(f"{own.url}/lstm/predict", b'{"line": "x"}', timeout=60)
        assert (answer.status, answer.json["detail"]) == (504, "the worker did not answer in time")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    own.wait_until_ready()
