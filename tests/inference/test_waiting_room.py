"""The door as Nginx finds it, and files as workers leave them."""

import os
import socket
import time
from pathlib import Path

from wsgiapp.inference.waiting_room import CLOSED_SECONDS, WaitingRoom
from wsgiapp.settings.loading import load_settings


def lets_in(run: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(run / "waiting.sock")) == 0


def test_it_is_closed_for_a_while_by_a_worker_that_is_full(tmp_path: Path) -> None:
    settings = load_settings({"WSGIAPP_HOME": str(tmp_path)})
    run = settings.run
    run.mkdir()
    worker, watchdog = WaitingRoom(settings), WaitingRoom(settings)
    worker.close()
    watchdog.reopen()
    assert not list(run.iterdir()), "without Nginx there is none"
    with socket.socket(socket.AF_UNIX) as common:
        common.bind(str(run / "app.sock"))
        common.listen()
        for _ in range(2):
            watchdog.make()
            assert lets_in(run)
        WaitingRoom(settings).close()
        assert not lets_in(run)
        watchdog.make()
        watchdog.reopen()
        assert not lets_in(run), "not at once"
        before = time.time() - 2 * CLOSED_SECONDS
        os.utime(run / "waiting.sock", (before, before), follow_symlinks=False)
        watchdog.reopen()
        assert lets_in(run)
    assert not list(run.glob("waiting.sock.*"))
