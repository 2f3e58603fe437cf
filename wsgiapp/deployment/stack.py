"""All processes together: start, stop, status, rolling restart, by way of supervisord."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from wsgiapp.deployment.container import Container
from wsgiapp.deployment.render import find_nginx, render
from wsgiapp.errors import StackError
from wsgiapp.settings.schema import Settings

POLL_SECONDS = 0.2
START_SECONDS = 120.0
LOG_LINES = 25
# So many process ids of one program during a start mean that it dies, though supervisord has not given it up.
MANY_LIVES = 4

Report = Callable[[str], None]


class Stack:
    """The processes of one home folder. `report` is called with a line on the progress, again and again."""

    def __init__(self, settings: Settings, report: Report = lambda line: None) -> None:
        self._settings = settings
        self._report = report
        self._configuration = settings.run / "supervisord.conf"
        self._container = Container(settings)

    @property
    def address(self) -> str:
        """Where clients find the service."""
        host = self._settings.http.host
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self._settings.http.port}"

    def up(self) -> None:
        """Start what is not running, and return when the service is ready. Raises `StackError`."""
        if self.is_up():
            for process in self._processes():
                if process["statename"] not in ("STARTING", "RUNNING", "BACKOFF"):
                    if process["name"] == "modelserver":
                        self._prepare_container()
                    self._rpc.startProcess(_full_name(process), False)
        else:
            render(self._settings)
            self._prepare_container()
            self._end_leftovers()
            for counters in self._settings.metrics.glob("*.db"):
                counters.unlink()
            self._require_free_addresses()
            self._start_supervisord()
        self._wait_until_ready()

    def down(self) -> None:
        """Stop everything, drained; harmless when nothing runs."""
        if self.is_up():
            pid = self._rpc.getPID()
            self._rpc.shutdown()
            limit = 3 * (self._settings.http.drain_seconds + 10)  # three groups stop one after the other
            self._wait(lambda: not _is_alive(pid), limit, "stopping", "supervisord does not stop")
        self._end_leftovers()
        for path in [*self._settings.run.glob("*.sock"), *self._settings.run.glob("*.ready")]:
            path.unlink()

    def restart(self) -> None:
        """Read the settings anew and restart the workers one by one; each must serve before the next one stops."""
        if not self.is_up():
            raise StackError("nothing runs; `make up` starts it")
        changed = {path.name for path in render(self._settings, models=False)}
        workers = [process for process in self._processes() if process["group"] == "app"]
        if len(workers) < 2:
            self._report("there is one worker only: requests wait or fail while it starts")
        for process in workers:
            name = _full_name(process)
            if process["statename"] == "RUNNING":
                self._report(f"{name}: draining")
                self._rpc.stopProcess(name, True)
            self._rpc.startProcess(name, False)
            self._wait(partial(self._serves, name), START_SECONDS, f"{name}: starting", f"{name} is not ready")
        self._wait(self._all_run, START_SECONDS, "starting", "a process does not run")
        if "nginx.conf" in changed:
            self._rpc.signalProcess("nginx", "HUP")
        if "supervisord.conf" in changed:
            self._report("supervisord's own settings changed; `make down` and `make up` apply them")

    def status(self) -> int:
        """Print what supervisorctl says; its exit status (0: all run)."""
        if not self.is_up():
            print("nothing runs; `make up` starts it")
            return 3
        return subprocess.run([_program("supervisorctl"), "-c", str(self._configuration), "status"]).returncode

    def is_up(self) -> bool:
        """Whether supervisord answers."""
        try:
            return bool(self._rpc.getState()["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    @property
    def _rpc(self) -> Any:
        """supervisord's calls. Made anew each time: a transport is of no use after supervisord went away under it."""
        transport = SupervisorTransport(None, None, f"unix://{self._settings.control_socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor

    def _processes(self) -> list[dict[str, Any]]:
        processes: list[dict[str, Any]] = self._rpc.getAllProcessInfo()
        return processes

    def _prepare_container(self) -> None:
        if self._settings.app.backend == "container":
            self._container.prepare(self._report)

    def _start_supervisord(self) -> None:
        command = [_program("supervisord"), "-c", str(self._configuration)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise StackError(f"supervisord does not start:\n{done.stderr.strip()}")

    def _serves(self, name: str) -> bool:
        """Whether worker `name` accepts connections: its ready file names the process that runs now."""
        process = self._rpc.getProcessInfo(name)
        try:
            ready = int(self._settings.ready_file(process["name"]).read_text())
        except (OSError, ValueError):
            return False
        return bool(ready == process["pid"])

    def _wait_until_ready(self) -> None:
        lives: dict[str, set[int]] = {}

        def is_ready() -> bool:
            for process in self._processes():
                seen = lives.setdefault(_full_name(process), set())
                seen.add(process["pid"])
                if process["statename"] in ("FATAL", "BACKOFF", "EXITED") or len(seen) > MANY_LIVES:
                    raise StackError(_failure(process))
            return self._all_run() and self._answers_ready()

        self._wait(is_ready, START_SECONDS, "starting", "the service is not ready")

    def _all_run(self) -> bool:
        return all(process["statename"] == "RUNNING" for process in self._processes())

    def _answers_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=5):
                return True
        except OSError:  # an HTTP error status is one, too
            return False

    def _wait(self, done: Callable[[], bool], seconds: float, doing: str, failure: str) -> None:
        """Poll until `done`, reporting; raises `StackError` with `failure` and the logs' last lines."""
        started = time.monotonic()
        while not done():
            passed = time.monotonic() - started
            if passed > seconds:
                raise StackError(f"{failure} after {seconds:.0f} s\n{self._last_words()}")
            self._report(f"{doing} {passed:.0f} s {self._summary()}")
            time.sleep(POLL_SECONDS)

    def _summary(self) -> str:
        try:
            return ", ".join(f"{_full_name(each)} {each['statename']}" for each in self._processes())
        except (OSError, xmlrpc.client.Error):
            return ""

    def _last_words(self) -> str:
        logs = [path for path in sorted(self._settings.logs.glob("*.log")) if "access" not in path.name]
        return "\n".join(f"--- {path}\n{_tail(path)}" for path in logs)

    def _require_free_addresses(self) -> None:
        http, backend = self._settings.http, self._settings.backend
        needed = [("http.port", http.host, http.port)]
        if self._settings.app.backend != "external":
            if backend.socket_path and _somebody_listens(backend.socket_path):
                raise StackError(f"backend.address: somebody listens on {backend.address}; use another path")
            if not backend.socket_path:
                needed.append(("backend.address", backend.host, backend.port))
        for key, host, port in needed:
            try:
                socket.create_server((host, port)).close()
            except OSError as exc:
                variable = f"WSGIAPP_{key.replace('.', '_').upper()}"
                raise StackError(
                    f"{key}: cannot listen on {host}:{port} ({exc.strerror}); {variable} moves it"
                ) from exc

    def _end_leftovers(self) -> None:
        """End processes of this home that a killed supervisord left behind, and the container of a killed launcher."""
        end_processes(leftover_processes(self._settings), self._settings.http.drain_seconds)
        if self._container.may_exist:
            self._container.remove()


def exec_nginx(settings: Settings) -> None:
    """Become Nginx's master, after the workers that a killed one left behind have let go of the port."""
    nginx = find_nginx(settings)
    if nginx is None:
        raise StackError(f"{settings.nginx.binary}: no such program")
    for pid in _orphaned_nginx(settings.run / "nginx.pid"):
        os.kill(pid, signal.SIGQUIT)  # they close the port at once, finish their requests and end
    os.execv(nginx, [nginx, "-p", str(settings.run), "-e", "stderr", "-c", str(settings.run / "nginx.conf")])


def leftover_processes(settings: Settings) -> list[int]:
    """Process ids that belong to this home's supervisord, though it no longer runs."""
    # supervisord sets this variable for its children; it names the home.
    mark = f"SUPERVISOR_SERVER_URL=unix://{settings.control_socket}".encode()
    marked = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                marked.append(int(entry.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    own = os.getpid()
    return [pid for pid in {*marked, *_orphaned_nginx(settings.run / "nginx.pid")} if pid != own]


def end_processes(pids: list[int], seconds: float) -> None:
    """SIGTERM, then after `seconds` SIGKILL."""
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + limit
        while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _orphaned_nginx(pid_file: Path) -> Iterator[int]:
    """Nginx's processes in the group of the master that wrote `pid_file`: supervisord made it a group's leader."""
    try:
        group = int(pid_file.read_text())
    except (OSError, ValueError):
        return
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, _, fields = (entry / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        # proc(5): after the name come the state, the parent's pid and the group's id
        if name == "nginx" and int(fields.split()[2]) == group:
            yield int(entry.name)


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _failure(process: dict[str, Any]) -> str:
    log = Path(process["stderr_logfile"] or process["stdout_logfile"])
    reason = process["spawnerr"] or process["statename"]
    return f"{_full_name(process)} does not start: {reason}; the last lines of {log}:\n{_tail(log)}"


def _full_name(process: dict[str, Any]) -> str:
    group, name = process["group"], process["name"]
    return name if group == name else f"{group}:{name}"


def _program(name: str) -> str:
    """A program of the environment this runs in."""
    return str(Path(sys.executable).with_name(name))


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as exc:
        return f"({exc.strerror})"
    return "\n".join(lines[-LOG_LINES:])
