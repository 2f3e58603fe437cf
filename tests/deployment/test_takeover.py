"""What is ended after a takeover, and what ends by itself."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import free_port, poll
from wsgiapp.deployment import nginx, takeover
from wsgiapp.deployment.processes import orphaned_processes
from wsgiapp.settings.loading import load_settings
from wsgiapp.settings.schema import Settings

NGINX = nginx.find_nginx(load_settings({}))
CONFIGURATION = """
daemon off;
pid {run}/nginx.pid;
error_log stderr;
events {{}}
http {{ access_log off; server {{ listen 127.0.0.1:{port}; }} }}
"""


pytestmark = pytest.mark.skipif(NGINX is None, reason="Nginx is not installed")


@contextmanager
def started(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Nginx, as supervisord starts it, and leaves it behind."""
    settings.run.mkdir()
    (settings.run / "nginx.conf").write_text(CONFIGURATION.format(run=settings.run, port=free_port()))
    mark = {"SUPERVISOR_SERVER_URL": f"unix://{settings.control_socket}"}
    assert NGINX is not None
    command = nginx.command(settings, NGINX, settings.run / "nginx.conf")
    master = subprocess.Popen(command, env={**os.environ, **mark}, process_group=0, stderr=subprocess.DEVNULL)
    try:
        poll(lambda: nginx.master(settings) == master.pid and nginx.workers(master.pid))
        yield master
    finally:
        master.terminate()
        master.wait()


def test_an_nginx_that_has_not_been_told_to_drain_yet_is_not_ended(tmp_path: Path) -> None:
    """On a busy machine its successor's launcher is still starting then: requests that it has read would be lost."""
    settings = load_settings({"WSGIAPP_HOME": str(tmp_path)})
    mark = {"SUPERVISOR_SERVER_URL": f"unix://{settings.control_socket}"}
    with started(settings) as master, subprocess.Popen(["sleep", "600"], env=mark) as other:
        try:
            left = set(orphaned_processes(settings))
            assert left == {master.pid, other.pid, *nginx.workers(master.pid)}
            assert takeover.left_behind(settings, os.getpid()) == []
            assert takeover.left_behind(settings, master.pid) == [other.pid]
        finally:
            other.terminate()


def test_a_master_that_is_left_behind_starts_no_more_workers(tmp_path: Path) -> None:
    settings = load_settings({"WSGIAPP_HOME": str(tmp_path)})
    with started(settings) as master:
        nginx._end_predecessor(settings)
        assert master.wait(10) == -signal.SIGKILL
        poll(lambda: not list(nginx.orphaned_workers(settings)))
