"""The systems side by side: each behind its own Nginx of the same configuration, all with the one model server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.cases import Case
from bench.loadgen import run
from bench.outcome import Load
from bench.processes import Child, Failure, group_of, last_lines, tree, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))
START_SECONDS = 90.0
# Nginx connects to the peers where the stack's own Nginx connects to the workers.
UPSTREAM = re.compile(r'server "unix:[^"]*"')
# ... and lets them have all that comes: how much the workers take says nothing of them.
MAX_CONNS = re.compile(r" max_conns=\d+")
BIN = Path(sys.executable).parent


def environment(backend: str) -> dict[str, str]:
    """What every process gets: the packages, the model server's address, and a quiet TensorFlow."""
    path = [str(REPOSITORY / "scripts"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "BENCH_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


class Stack:
    """This service as `wsgiapp up` starts it, with a home folder and ports of its own."""

    name = "wsgiapp"
    title = "wsgiapp"

    def __init__(self, home: Path, models: Path, conf: Path | None = None) -> None:
        """`conf`: another folder of settings than the repository's."""
        self.home = home
        self.conf = conf
        self.host, self.port = "127.0.0.1", free_port()
        self.backend = f"127.0.0.1:{free_port()}"
        self.models = models.resolve()
        self.start_seconds = 0.0

    def start(self) -> None:
        """Raises `Failure` with what the command said."""
        self.stop()  # what a killed benchmark may have left behind
        self.home.mkdir(parents=True, exist_ok=True)
        link = self.home / "models"
        link.unlink(missing_ok=True)
        link.symlink_to(self.models, target_is_directory=True)
        started = time.monotonic()
        done = self._command("up")
        if done.returncode != 0:
            raise Failure(done.stdout + done.stderr)
        self.start_seconds = time.monotonic() - started

    def stop(self) -> None:
        """Harmless where nothing runs."""
        self._command("down")

    @property
    def last_words(self) -> str:
        """The end of the workers' logs."""
        logs = sorted((self.home / "log").glob("app_*[0-9].log"))
        return "\n".join(last_lines(log) for log in logs[:2])

    def pids(self) -> list[int]:
        """supervisord and all that it runs, Nginx and the model server among them."""
        return tree(int((self.home / "run/supervisord.pid").read_text()))

    def nginx_configuration(self) -> str:
        """What the stack's Nginx was started with."""
        return (self.home / "run/nginx.conf").read_text(encoding="utf-8")

    def _command(self, name: str) -> subprocess.CompletedProcess[str]:
        variables = {
            **environment(self.backend),
            "WSGIAPP_HOME": str(self.home),
            "WSGIAPP_HTTP_PORT": str(self.port),
            "WSGIAPP_BACKEND_ADDRESS": self.backend,
            "WSGIAPP_LOG_ACCESS": "false",  # the peers write none either
        }
        if self.conf:
            variables["WSGIAPP_CONF"] = str(self.conf)
        command = [sys.executable, "-m", "wsgiapp.cli", name]
        # In a session of its own: Ctrl-C must not reach what stops the processes.
        return subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, start_new_session=True
        )


@dataclass(frozen=True)
class Recipe:
    """How a peer is started; in `command` stand {socket}, {port}, {cores} and {models} (the folder)."""

    name: str
    title: str
    command: Sequence[str]
    serves_images: bool = False
    polls_when_idle: bool = False  # it is stopped (SIGSTOP) while others are measured


RECIPES = (
    Recipe(
        "flask-gunicorn",
        "Flask + gunicorn, 4 sync workers",
        (
            f"{BIN}/gunicorn",
            "--workers=4",
            "--worker-class=sync",
            "--umask=0",
            "--bind=unix:{socket}",
            "bench.peers.flask_gunicorn:app",
        ),
        serves_images=True,
    ),
    Recipe(
        "fastapi",
        "FastAPI + uvicorn, grpc.aio",
        (
            f"{BIN}/uvicorn",
            "--workers={cores}",
            "--loop=uvloop",
            "--http=httptools",
            "--no-access-log",
            "--uds={socket}",
            "bench.peers.fastapi_uvicorn:app",
        ),
        serves_images=True,
    ),
    Recipe(
        "gevent",
        "Flask + gevent's pywsgi",
        (sys.executable, "-m", "bench.peers.flask_gevent", "{socket}", "{cores}"),
    ),
    Recipe(
        "uwsgi",
        "Flask + uWSGI, 16 threads a process",
        (
            f"{BIN}/uwsgi",
            "--master",
            "--lazy-apps",
            "--die-on-term",
            "--disable-logging",
            "--enable-threads",
            "--processes={cores}",
            "--threads=16",
            "--listen=1024",
            "--http11-socket={socket}",
            "--chmod-socket=666",
            f"--virtualenv={BIN.parent}",
            "--module=bench.peers.flask_uwsgi:app",
        ),
    ),
    Recipe(
        "litserve",
        "LitServe, batches of up to 64",
        (sys.executable, "-m", "bench.peers.litserve_batching", "{port}", "{models}"),
        polls_when_idle=True,
    ),
    Recipe("empty", "empty pywsgi", (sys.executable, "-m", "bench.peers.empty_pywsgi", "{socket}", "{cores}")),
)


class Peer:
    """One of the others: its own server, and an Nginx with the stack's configuration in front of it."""

    def __init__(self, recipe: Recipe, home: Path, stack: Stack) -> None:
        self.name, self.title = recipe.name, recipe.title
        self.recipe = recipe
        self.host, self.port = "127.0.0.1", free_port()
        self.start_seconds = 0.0
        self._home = home
        self._stack = stack
        self._children: list[Child] = []

    def start(self) -> None:
        """Start the server and its Nginx. Raises `Failure`; whether it answers is for `wait_until_right` to say."""
        tmp = self._home / "tmp"
        for folder in (self._home, self._home / "run", tmp):
            folder.mkdir(parents=True, exist_ok=True)
        unix_socket = self._home / "run/app.sock"
        unix_socket.unlink(missing_ok=True)
        values = {"socket": unix_socket, "cores": CORES, "port": free_port(), "models": self._stack.models}
        command = [part.format(**values) for part in self.recipe.command]
        upstream = f"unix:{unix_socket}" if f"{unix_socket}" in " ".join(command) else f"127.0.0.1:{values['port']}"
        # gunicorn, Keras and jieba write to the user's folders otherwise
        folders = dict.fromkeys(("HOME", "TMPDIR", "KERAS_HOME"), str(tmp))
        variables = {**environment(self._stack.backend), **folders}
        self._children.append(Child(command, self._home / "server.log", variables))
        configuration = self._home / "run/nginx.conf"
        configuration.write_text(self._nginx_configuration(upstream), encoding="utf-8")
        nginx = [*nginx_program(), "-p", str(self._home), "-e", "stderr", "-c", str(configuration)]
        self._children.append(Child(nginx, self._home / "nginx.log", {}))

    def stop(self) -> None:
        """End both, server first."""
        if self._children:
            self.resume()
        while self._children:
            self._children.pop(0).stop()

    @property
    def last_words(self) -> str:
        """The end of the server's log."""
        return last_lines(self._home / "server.log")

    def pids(self) -> list[int]:
        """The server's processes and its Nginx's; and the model server's, which works for it, too."""
        own = [pid for child in self._children for pid in tree(child.pid)]
        return own + [pid for pid in self._stack.pids() if group_of(pid) == "model server"]

    def pause(self) -> None:
        """Keep a server that polls from taking time while others are measured."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.recipe.polls_when_idle:
            for pid in tree(self._children[0].pid):
                os.kill(pid, number)

    def require_alive(self) -> None:
        """Raises `Failure` when the server or its Nginx has ended."""
        for child in self._children:
            child.require_alive()

    def _nginx_configuration(self, upstream: str) -> str:
        """The stack's own, with another port, another upstream, and no access log, which the peers do not write."""
        text = self._stack.nginx_configuration()
        text = MAX_CONNS.sub("", UPSTREAM.sub(f'server "{upstream}"', text))
        text = text.replace(str(self._stack.home), str(self._home))
        text = text.replace(f"{self._stack.host}:{self._stack.port} ", f"{self.host}:{self.port} ")
        return re.sub(r"^\s*access_log .*;$", "    access_log off;", text, flags=re.MULTILINE)


System = Stack | Peer
# An open loop that is over after its first request: it waits for the answer, and leaves no broken connection behind.
ONE_REQUEST = partial(Load, connections=1, seconds=0.001, warm_up_seconds=0.0, rate=1.0, timeout_seconds=10.0)


def wait_until_right(system: System, case: Case) -> None:
    """Ask until the answer is right. Raises `Failure` with the last answer and the end of the log."""
    started = time.monotonic()
    said = "no answer"
    for _ in wait_for(START_SECONDS):
        if isinstance(system, Peer):
            system.require_alive()
        outcome = run(ONE_REQUEST(system.host, system.port), [case])
        if outcome.right and not outcome.errors:
            system.start_seconds = system.start_seconds or time.monotonic() - started
            return
        said = outcome.sample or said
    raise Failure(f"no right answer in {START_SECONDS:g} s; the last one: {said}\n{system.last_words}")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def nginx_program() -> list[str]:
    """Nginx's program, as the stack finds it."""
    from wsgiapp.deployment.nginx import find_nginx
    from wsgiapp.settings.loading import load_settings

    path = find_nginx(load_settings({}))
    if path is None:
        raise Failure("Nginx is not installed; `make setup` installs it")
    return [path]
