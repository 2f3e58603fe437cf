"""supervisord's sockets, with programs that accept nothing: who connects waits for the next one."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Process, free_port, poll, python_module
from wsgiapp.deployment.processes import is_alive

ECHO = """
import socket, time
listener = socket.socket(fileno=0)
time.sleep({pause})
while True:
    connection, _ = listener.accept()
    connection.sendall(b"served")
    connection.close()
"""
CONFIGURATION = """
[supervisord]
nodaemon=true
logfile={folder}/log
pidfile={folder}/pid
[unix_http_server]
file={folder}/control
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[fcgi-program:tcp]
command="{python}" "{folder}/program.py"
socket=tcp://127.0.0.1:{port}
startsecs=0
stopsignal=KILL
[fcgi-program:unix]
command="{python}" "{folder}/program.py"
socket=unix://{folder}/socket
startsecs=0
stopsignal=KILL
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def supervisord(tmp_path: Path, port: int) -> Iterator[Process]:
    (tmp_path / "program.py").write_text(ECHO.format(pause=0.2))
    text = CONFIGURATION.format(folder=tmp_path, python=sys.executable, port=port)
    (tmp_path / "supervisord.conf").write_text(text)
    arguments = python_module("wsgiapp.deployment.supervisord", "-c", str(tmp_path / "supervisord.conf"))
    with Process(arguments, tmp_path / "output") as process:
        process.wait_until((tmp_path / "pid").exists)
        yield process


def served(family: socket.AddressFamily, address: object) -> bytes:
    with socket.socket(family) as client:
        client.settimeout(30)
        client.connect(address)
        return client.recv(100)


def children(process: Process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_a_socket_outlives_its_programs(supervisord: Process, tmp_path: Path, port: int) -> None:
    addresses = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, str(tmp_path / "socket"))]
    assert [served(*each) for each in addresses] == [b"served"] * 2
    before = children(supervisord)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    poll(lambda: not any(is_alive(pid) for pid in before))  # one that is about to die may still accept
    assert [served(*each) for each in addresses] == [b"served"] * 2, "they waited"
    assert not set(children(supervisord)) & set(before)
    supervisord.send(signal.SIGTERM)
    assert supervisord.wait(30) == 0
    poll(lambda: is_closed(port), 10)


def is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
