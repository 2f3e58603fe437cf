"""Mistakes in the configuration of a running stack, and what is typed after mending them."""

import os
import signal
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

WORKER = "app:app_00"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that tests may break."""
    if find_nginx(load_settings({})) is None:
        pytest.skip("Nginx is not installed")
    stack = RunningStack(tmp_path_factory.mktemp("own"))
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


def test_a_restart_after_a_typo_was_mended(own: RunningStack) -> None:
    settings = own.home / "conf/wsgiapp.toml"
    before = replaced(settings, '"segmented_text"', '"segmented_txt"')
    failed = own.wsgiapp("restart")
    assert failed.returncode == 1
    assert "app:app_00 does not start" in failed.stderr and 'pipeline = "segmented_txt"' in failed.stderr
    assert "Traceback" not in failed.stderr
    assert fetch(f"{own.url}/readyz").status == 200, "the other worker still serves"
    poll(lambda: state(own) == "BACKOFF", 30, "BACKOFF")

    settings.write_text(before)
    mended = own.wsgiapp("restart")
    assert mended.returncode == 0, mended.stderr
    assert "all workers restarted" in mended.stdout and "Traceback" not in mended.stderr
    own.wait_until_ready()


def test_a_restart_where_a_worker_is_stopped_or_was_killed(own: RunningStack) -> None:
    own.supervisorctl("stop", WORKER)
    assert state(own) == "STOPPED"
    assert own.wsgiapp("restart").returncode == 0
    os.kill(own.pids()["app:app_01"], signal.SIGKILL)
    assert own.wsgiapp("restart").returncode == 0
    own.wait_until_ready()


def test_every_call_may_find_that_it_was_done_already(own: RunningStack) -> None:
    """Between a look at a process and a call somebody else may have acted."""
    supervisor = Supervisor(load_settings({"WSGIAPP_CONF": str(own.home / "conf"), "WSGIAPP_HOME": str(own.home)}))
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


def test_programs_of_ones_own(own: RunningStack) -> None:
    program = '[program:mine]\ncommand="@{python}" -c "import time; time.sleep(600)"\nstartsecs=0\n'
    (own.home / "conf/supervisor.d/mine.conf").write_text(program)
    assert own.wsgiapp("down").returncode == 0
    up = own.wsgiapp("up")
    assert up.returncode == 0, up.stderr
    assert state(own, "mine") == "RUNNING"
    (own.home / "conf/supervisor.d/mine.conf").unlink()
    assert own.wsgiapp("down").returncode == 0
    assert own.wsgiapp("up").returncode == 0
    assert "mine" not in own.pids()
    own.wait_until_ready()


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_nginx_s_own_errors_are_the_application_s(own: RunningStack, prefix: str) -> None:
    own.supervisorctl("stop", "app:*")
    try:
        answers = [
            fetch(f"{own.url}{prefix}/models/lstm:predict", b"{}", timeout=30),
            fetch(f"{own.url}{prefix}/models/lstm:predict", bytes(3 * 2**20)),
            fetch(f"{own.url}{prefix}/x?{'a' * 600_000}"),
        ]
        assert [answer.status for answer in answers] == [502, 413, 414]
        details = [
            "no worker could answer; try again in a moment",
            f"body: larger than the limit of {2 * 2**20} bytes",
            f"the request line is longer than the limit of {512 * 1024} bytes; send large values by POST",
        ]
        if prefix:
            assert [answer.json for answer in answers] == [{"error": detail} for detail in details]
            assert {answer.headers["Content-Type"] for answer in answers} == {"application/json"}
        else:
            assert [answer.json["detail"] for answer in answers] == details
            assert [answer.json["title"] for answer in answers] == ["Bad Gateway", "Content Too Large", "URI Too Long"]
            assert {answer.headers["Content-Type"] for answer in answers} == {"application/problem+json"}
        assert answers[0].headers["Retry-After"] == "1"
    finally:
        own.supervisorctl("start", "app:*")
        own.wait_until_ready()
