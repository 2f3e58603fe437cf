"""Nginx's access log, and a reader of it that stops."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.processes import poll
from support.stack import RunningStack
from wsgiapp.deployment import log_relay
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings

LINES = 40_000
LINE = b'{"time":1790000000.123,"path":"' + b"a" * 64 + b'"}\n'


def test_who_writes_never_waits_and_no_line_is_broken() -> None:
    command = [sys.executable, "-I", "-S", log_relay.__file__]
    relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert relay.stdin and relay.stdout
    for _ in range(LINES // 40):
        relay.stdin.write(LINE * 40)  # nobody reads what it writes
    relay.send_signal(signal.SIGTERM)
    relay.stdin.close()
    lines = relay.stdout.read().splitlines(keepends=True)
    assert relay.wait(10) == 0
    passed = [line for line in lines if line == LINE]
    dropped = [json.loads(line)["dropped_lines"] for line in lines if line != LINE]
    assert len(passed) * len(LINE) >= log_relay.MAX_BYTES
    assert len(dropped) == 1 and len(passed) + dropped[0] == LINES


def test_a_reader_that_has_gone_is_not_the_writer_s_concern() -> None:
    command = [sys.executable, "-I", "-S", log_relay.__file__]
    relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert relay.stdin and relay.stdout
    relay.stdout.close()
    for _ in range(3):
        relay.stdin.write(LINE * 1000)
        relay.stdin.flush()
        time.sleep(0.05)
    relay.stdin.close()
    assert relay.wait(10) == 0


@pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")
def test_nginx_serves_while_supervisord_is_stopped_whatever_it_logs(stack: RunningStack) -> None:
    supervisord = int((stack.home / "run/supervisord.pid").read_text())
    client = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
    mark = f"relay-{os.getpid()}"
    os.kill(supervisord, signal.SIGSTOP)
    try:
        for _ in range(800):  # a pipe has room for some 200 of these lines
            client.request("TRACE", f"/{'a' * 250}", headers={"X-Request-ID": mark})
            answer = client.getresponse()
            answer.read()
            assert answer.status == 405
    finally:
        os.kill(supervisord, signal.SIGCONT)
    log: Path = stack.home / "log/nginx.access.log"
    poll(lambda: log.read_text().count(mark) == 800)
