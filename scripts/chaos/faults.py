"""The faults: what is done to the stack, and how many requests may fail of it."""

from __future__ import annotations

import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from chaos.target import MODEL, Target, kill

FILL = "chaos-fills-the-disk"
CLOCK_FILE = "clock"
HOUR = 3600


@dataclass(frozen=True)
class Fault:
    """`limit`: requests that may fail; `None`: not promised, only measured. `undo` is done when the load has ended."""

    name: str
    name_zh: str
    act: Callable[[Target], None]
    limit: int | None = 0
    seconds: float = 8.0
    undo: Callable[[Target], None] | None = None


def _kill_worker(target: Target) -> None:
    kill(target.workers[:1])


def _stop_worker(target: Target) -> None:
    kill(target.workers[:1], signal.SIGSTOP)


def _restart_worker(target: Target) -> None:
    target.supervisorctl("restart", "app:app_00")


def _kill_workers(target: Target) -> None:
    kill(target.workers)


def _stop_workers(target: Target) -> None:
    kill(target.workers, signal.SIGSTOP)


def _kill_nginx_worker(target: Target) -> None:
    kill(target.nginx_workers[:1])


def _kill_nginx_master(target: Target) -> None:
    kill([target.nginx_master])


def _restart_nginx(target: Target) -> None:
    target.supervisorctl("restart", "nginx")


def _reload_nginx(target: Target) -> None:
    kill([target.nginx_master], signal.SIGHUP)


def _kill_model_server(target: Target) -> None:
    kill([target.model_server])


def _stop_model_server(target: Target) -> None:
    kill([target.model_server], signal.SIGSTOP)


def _pause_model_server(target: Target) -> None:
    pid = target.model_server
    kill([pid], signal.SIGSTOP)
    time.sleep(0.3)
    kill([pid], signal.SIGCONT)


def _restart_model_server(target: Target) -> None:
    target.supervisorctl("restart", "modelserver")


def _kill_supervisord(target: Target) -> None:
    kill([target.supervisord])
    time.sleep(1)
    target.command("up")


def _pause_supervisord(target: Target) -> None:
    pid = target.supervisord
    kill([pid], signal.SIGSTOP)
    time.sleep(12)
    kill([pid], signal.SIGCONT)


def _restart(target: Target) -> None:
    target.command("restart")


def _upgrade(target: Target) -> None:
    target.command("upgrade")


def _swap(target: Target) -> None:
    target.command("models", "promote", MODEL, str(target.add_version()), "--label", "stable")


def _all_at_once(target: Target) -> None:
    orders = [Thread(target=order, args=(target,)) for order in (_restart, _reload_nginx, _swap)]
    for order in orders:
        order.start()
    for order in orders:
        order.join()


def _fill_disk(target: Target) -> None:
    size = 2**20
    with (target.home / FILL).open("wb", buffering=0) as file:
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    kill(target.workers[:1])


def _free_disk(target: Target) -> None:
    (target.home / FILL).unlink()


def _clock_forward(target: Target) -> None:
    set_clock(target.home, HOUR)


def _clock_back(target: Target) -> None:
    set_clock(target.home, -HOUR)


def _clock_right(target: Target) -> None:
    set_clock(target.home, 0)


def set_clock(home: Path, seconds: int) -> None:
    """Have the processes whose home it is read a wall clock that is so far off; see clock.c."""
    with (home / CLOCK_FILE).open("r+b" if (home / CLOCK_FILE).exists() else "wb") as file:
        file.write(struct.pack("q", seconds))


FAULTS = (
    Fault("kill -9 of a worker", "kill -9 一个工作进程", _kill_worker),
    Fault("SIGSTOP of a worker: it hangs", "SIGSTOP 一个工作进程（挂起）", _stop_worker, seconds=15),
    Fault("supervisorctl restart of a worker", "supervisorctl restart 一个工作进程", _restart_worker),
    Fault("kill -9 of all workers at once", "同时 kill -9 所有工作进程", _kill_workers, limit=20),
    Fault("SIGSTOP of all workers at once", "同时 SIGSTOP 所有工作进程", _stop_workers, limit=20, seconds=20),
    Fault("kill -9 of Nginx's worker", "kill -9 Nginx 的工作进程", _kill_nginx_worker, limit=2),
    Fault("kill -9 of Nginx's master", "kill -9 Nginx 主进程", _kill_nginx_master, limit=2),
    Fault("supervisorctl restart nginx", "supervisorctl restart nginx", _restart_nginx),
    Fault("Nginx reload (SIGHUP)", "Nginx 重新加载（SIGHUP）", _reload_nginx),
    Fault("kill -9 of the model server", "kill -9 模型服务器", _kill_model_server, limit=None, seconds=20),
    Fault("supervisorctl restart modelserver", "supervisorctl restart modelserver", _restart_model_server, None, 20),
    Fault("the model server stands still for 0.3 s", "模型服务器停顿 0.3 秒", _pause_model_server),
    Fault("SIGSTOP of the model server: it hangs", "SIGSTOP 模型服务器（挂起）", _stop_model_server, None, 25),
    Fault(
        "kill -9 of supervisord, then `wsgiapp up`", "kill -9 supervisord，再 `wsgiapp up`", _kill_supervisord, 0, 20
    ),
    Fault("supervisord stands still for 12 s", "supervisord 停顿 12 秒", _pause_supervisord, seconds=16),
    Fault("wsgiapp restart", "wsgiapp restart", _restart, seconds=15),
    Fault("wsgiapp upgrade (new code)", "wsgiapp upgrade（新代码）", _upgrade, seconds=30),
    Fault("a new version of the model", "模型换新版本", _swap, seconds=10),
    Fault("restart, reload and new version at once", "重启、重新加载与换版本同时进行", _all_at_once, seconds=20),
)
# On a disk of its own, which is small and can be filled.
DISK_FAULTS = (
    Fault("full disk, and kill -9 of a worker", "磁盘写满，再 kill -9 一个工作进程", _fill_disk, undo=_free_disk),
)
# With a wall clock of their own in all processes.
CLOCK_FAULTS = (
    Fault("the clock jumps an hour ahead", "时钟向前跳一小时", _clock_forward, undo=_clock_right),
    Fault("the clock jumps an hour back", "时钟向后跳一小时", _clock_back, undo=_clock_right),
)
