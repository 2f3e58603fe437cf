"""`Stack`: all processes together: start, stop, status, rolling restart, by way of supervisord."""

import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from wsgiapp.deployment.app_server import running_server
from wsgiapp.deployment.container import Container
from wsgiapp.deployment.processes import child_processes, end_processes, is_alive, orphaned_processes
from wsgiapp.deployment.render import render
from wsgiapp.deployment.supervisor import POLL_SECONDS, Process, Supervisor
from wsgiapp.errors import StackError
from wsgiapp.settings.schema import Settings

START_SECONDS = 120.0
LOG_LINES = 25
WORKERS = "app"
PROGRAMS = (WORKERS, "modelserver", "nginx")  # supervisord's groups of the service
NOTHING_RUNS = 3  # as supervisorctl's exit status is where not all run
# So many process ids of one program during a start mean that it keeps failing, though supervisord goes on trying.
MAX_STARTS = 4

ASK_AGAIN_SECONDS = 5.0

Report = Callable[[str], None]


class Stack:
    """The processes of one home folder. `report` is called with a line on the progress, again and again."""

    def __init__(self, settings: Settings, report: Report = lambda line: None) -> None:
        self._settings = settings
        self._report = report
        self._supervisor = Supervisor(settings)
        self._container = Container(settings)

    @property
    def address(self) -> str:
        """Where clients find the service."""
        host = self._settings.http.host
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self._settings.http.port}"

    def up(self) -> None:
        """Start what is not running, and return when the service is ready. Raises `StackError`."""
        if self._supervisor.is_shutting_down():
            self._shut_down()
        if self._supervisor.is_up():
            for process in self._processes():
                self._start_where_missing(process)
        else:
            render(self._settings)
            self._prepare_container()
            self._end_orphans()
            for metrics in self._settings.metrics.glob("*.db"):
                metrics.unlink()
            self._require_free_addresses()
            self._supervisor.run()
        self._wait(self._all_ready(), START_SECONDS, "starting", "the service is not ready")

    def down(self) -> None:
        """Stop everything, drained; harmless when nothing runs."""
        self._shut_down()
        self._end_orphans()
        for path in [*self._settings.run.glob("*.sock"), *self._settings.run.glob("*.ready")]:
            path.unlink()

    def restart(self) -> list[str]:
        """Read the settings anew and restart the workers one by one; each must serve before the next one stops.

        What else does not run is started. Returns what the operator should know besides.
        """
        if not self._supervisor.is_up():
            raise StackError("nothing runs; `make up` starts it")
        processes = self._processes()
        workers = [process.full_name for process in processes if process.group == WORKERS]
        self._require_same_server(processes)
        changed = render(self._settings, models=False)
        for process in processes:
            if process.group != WORKERS:
                self._start_where_missing(process)
        for name in workers:
            self._report(f"{name}: draining")
            self._wait(self._replaced(name), START_SECONDS, f"{name}: starting", f"{name} is not ready")
        self._wait(self._all_run, START_SECONDS, "starting", "a process does not run")
        if changed & {"nginx.conf", "nginx.d"}:
            self._supervisor.signal("nginx", "HUP")
        notices = []
        if len(workers) < 2 and self._settings.app.server == "builtin":
            notices.append("there is one worker only: requests waited or failed while it started")
        if changed & {"supervisord.conf", "supervisor.d"}:
            notices.append("supervisord's own settings changed; `make down` and `make up` apply them")
        return notices

    def status(self) -> tuple[str, int]:
        """The table of processes, and 0 where all run."""
        if not self._supervisor.is_up():
            return "nothing runs; `make up` starts it\n", NOTHING_RUNS
        return self._supervisor.status()

    def _processes(self) -> list[Process]:
        """Those of the service; people's own programs in conf/supervisor.d are theirs to start and to watch."""
        return [process for process in self._supervisor.processes() if process.group in PROGRAMS]

    def _start_where_missing(self, process: Process) -> None:
        if process.is_started:
            return
        if process.name == "modelserver":
            self._prepare_container()
        self._supervisor.stop(process.full_name)  # in BACKOFF supervisord would wait before it tries again
        self._supervisor.start(process.full_name)

    def _require_same_server(self, processes: list[Process]) -> None:
        """Raise `StackError` where the workers are run by another server than the settings say by now."""
        running = {running_server(process.pid) for process in processes if process.group == WORKERS} - {""}
        if running - {self._settings.app.server}:
            raise StackError("app.server has changed; `make down` and `make up` apply it")

    def _replaced(self, name: str) -> Callable[[], bool]:
        """Have a worker, or the workers of gunicorn's or uWSGI's master `name`, replaced; whether it is done."""
        process = self._supervisor.process(name)
        server = running_server(process.pid)
        before = child_processes(process.pid) if server in ("gunicorn", "uwsgi") else set()
        if before:
            self._settings.ready_file(process.name).unlink(missing_ok=True)
            self._supervisor.signal(name, "HUP")
        else:
            self._supervisor.stop(name)
            self._supervisor.start(name)
        serves = self._serves(name)
        asked = time.monotonic()

        def replaced() -> bool:
            nonlocal asked
            children = child_processes(self._supervisor.process(name).pid)
            # uWSGI leaves out a worker that is still loading; while it is at it, the signal does nothing.
            if server == "uwsgi" and children & before and time.monotonic() - asked > ASK_AGAIN_SECONDS:
                self._supervisor.signal(name, "HUP")
                asked = time.monotonic()
            return serves() and len(children) >= len(before) and not children & before

        return replaced if before else serves

    def _shut_down(self) -> None:
        """Have supervisord end, where it is there, and wait until it has."""
        pid = self._supervisor.pid()
        groups = {process.group for process in self._supervisor.processes()}  # which stop one after the other
        self._supervisor.shutdown()
        limit = max(len(PROGRAMS), len(groups)) * (self._settings.http.drain_seconds + 10)

        def has_ended() -> bool:
            return not self._supervisor.is_up() and (pid is None or not is_alive(pid))

        self._wait(has_ended, limit, "stopping", "supervisord does not stop")

    def _prepare_container(self) -> None:
        if self._settings.app.backend == "container":
            self._container.prepare(self._report)

    def _serves(self, name: str) -> Callable[[], bool]:
        """Whether worker `name` accepts connections: its ready file names the process that runs now."""
        starts: set[int] = set()

        def serves() -> bool:
            process = self._supervisor.process(name)
            _require_starting(process, starts)
            try:
                ready = int(self._settings.ready_file(process.name).read_text())
            except (OSError, ValueError):
                return False
            return ready == process.pid

        return serves

    def _all_ready(self) -> Callable[[], bool]:
        """Whether all processes run and the service says that it is ready."""
        starts: dict[str, set[int]] = {}

        def ready() -> bool:
            for process in self._processes():
                if process.has_failed:
                    raise StackError(_failure(process))
                _require_starting(process, starts.setdefault(process.full_name, set()))
            return self._all_run() and self._answers_ready()

        return ready

    def _all_run(self) -> bool:
        processes = self._processes()
        return bool(processes) and all(process.state == "RUNNING" for process in processes)

    def _answers_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=5):
                return True
        except OSError:  # an HTTP error status is one, too
            return False

    def _wait(self, done: Callable[[], bool], seconds: float, doing: str, failure: str) -> None:
        """Poll until `done`, reporting; raises `StackError` with `failure` and the ends of the logs."""
        started = time.monotonic()
        while not done():
            passed = time.monotonic() - started
            if passed > seconds:
                raise StackError(f"{failure} after {seconds:.0f} s\n{self._ends_of_logs()}")
            states = ", ".join(f"{each.full_name} {each.state}" for each in self._supervisor.processes())
            self._report(f"{doing} {passed:.0f} s {states}")
            time.sleep(POLL_SECONDS)

    def _ends_of_logs(self) -> str:
        logs = [path for path in sorted(self._settings.logs.glob("*.log")) if "access" not in path.name]
        return "\n".join(f"--- {path}\n{_tail(path)}" for path in logs)

    def _require_free_addresses(self) -> None:
        http, backend = self._settings.http, self._settings.backend
        needed = [("http.port", http.host, http.port)]
        if self._settings.app.backend != "external":
            if backend.socket_path and _is_listening(backend.socket_path):
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

    def _end_orphans(self) -> None:
        """End processes of this home that a killed supervisord left behind, and the container of a killed launcher."""
        end_processes(orphaned_processes(self._settings), self._settings.http.drain_seconds)
        if self._container.may_exist:
            self._container.remove()


def _require_starting(process: Process, starts: set[int]) -> None:
    """Raise `StackError` for a process that supervisord starts again and again; `starts` are the pids seen so far."""
    starts.add(process.pid)
    if process.state == "FATAL" or len(starts - {0}) > MAX_STARTS:
        raise StackError(_failure(process))


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _failure(process: Process) -> str:
    reason = process.spawn_error or process.state
    return f"{process.full_name} does not start: {reason}; the last lines of {process.log}:\n{_tail(process.log)}"


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as exc:
        return f"({exc.strerror})"
    return "\n".join(lines[-LOG_LINES:])
