"""`Stack`: all processes together: start, stop, status, rolling restart, by way of supervisord."""

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from wsgiapp.access.credentials_file import CredentialsFile
from wsgiapp.deployment import nginx, nginx_listeners, process_state, readiness, takeover
from wsgiapp.deployment.addresses import require_free
from wsgiapp.deployment.app_server import running_server
from wsgiapp.deployment.container import Container
from wsgiapp.deployment.log_tails import LogTails
from wsgiapp.deployment.models_check import check_before_restart, check_before_start
from wsgiapp.deployment.processes import child_processes, end_processes, is_alive, kill_process, orphaned_processes
from wsgiapp.deployment.render import nginx_files, render, restore_nginx_files
from wsgiapp.deployment.supervisor import POLL_SECONDS, Process, Supervisor
from wsgiapp.errors import StackError
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.started import Started, forget

START_SECONDS = 120.0
LOAD_SECONDS = 15.0  # a version that cannot be loaded has failed some times by then
WORKERS, NGINX = "app", "nginx"
PROGRAMS = (WORKERS, "modelserver", NGINX, "models", "watchdog")  # supervisord's groups of the service
# uWSGI leaves out a worker that is still loading, and ignores a SIGHUP while it waits for the last worker of an earlier
# one.
HUP_SECONDS = 5.0
NOTHING_RUNS = 3  # as supervisorctl's exit status is where not all run
# So many process ids of one program during a start mean that it keeps failing, though supervisord goes on trying.
MAX_STARTS = 4
# TF Serving's state of a version that is not there any more; with an error, of one that could not be loaded.
CANNOT_LOAD = re.compile(r"\d END: ")
NO_NGINX = "Nginx is not installed: the workers serve clients themselves"

Report = Callable[[str], None]


class Stack:
    """The processes of one home folder. `report` is called with a line on the progress, again and again."""

    def __init__(self, settings: Settings, report: Report = lambda line: None) -> None:
        """`settings` are those that are wanted now; see `stack_settings` for the variables among them."""
        self._wanted = settings.in_stack()
        self._started = Started.read(settings.run)
        self._settings = self._started.applied(self._wanted) if self._started else self._wanted
        self._report = report
        self._supervisor = Supervisor(settings.run)
        self._logs = LogTails(settings.logs)
        self._missing: list[str] = []  # what `/readyz` said last

    @property
    def address(self) -> str:
        """Where clients find the service."""
        host, tls = readiness.client_host(self._settings), self._settings.tls
        return f"https://{host}:{tls.https_port}" if tls.certificate else f"http://{host}:{self._settings.http.port}"

    def up(self, environ: Mapping[str, str] = os.environ) -> list[str]:
        """Start what is not running, and return when the service is ready: what the operator should know besides.

        `environ` is what a stack that does not run is started with. Raises `StackError`.
        """
        if self._supervisor.is_shutting_down():
            self._shut_down()
        notices = self._start_the_rest() if self._supervisor.is_up() else self._start(environ)
        self._wait(self._all_ready(), START_SECONDS, "starting", "the service is not ready")
        self._end_what_is_left_behind()
        return notices

    def upgrade(self, environ: Mapping[str, str] = os.environ) -> list[str]:
        """Replace all processes, supervisord among them, by such of the code and the settings as they are now.

        The old ones serve until the new ones do, so that no request is lost; models are in memory twice meanwhile.
        Returns what the operator should know besides. Raises `StackError`.
        """
        supervisord = self._supervisor.pid()
        if supervisord is None or self._started is None:
            raise StackError("nothing runs; `make up` starts it")
        if unit := process_state.systemd_unit(supervisord):  # it would stop everything once supervisord has ended
            raise StackError(f"systemd runs the stack: `systemctl restart {unit}` starts it with the new code")
        unknown = [name for name, value in self._started.variables.items() if value is None and name not in environ]
        if unknown:
            raise StackError(f"{unknown[0]}: the stack was started with it; set it here, too")
        notices = self._start(self._started.environment(environ), supervisord)
        self._wait(self._all_ready(), START_SECONDS, "starting", "the service is not ready")
        self._end_what_is_left_behind()
        return notices

    def down(self) -> None:
        """Stop everything, drained; harmless when nothing runs."""
        self._shut_down()
        _end_orphans(self._settings)
        for path in [*self._settings.run.glob("*.sock"), *self._settings.run.glob("*.ready")]:
            path.unlink()
        forget(self._settings.run)

    def restart(self) -> list[str]:
        """Read the settings anew and restart the workers one by one; each must serve before the next one stops.

        What else does not run is started. Returns what the operator should know besides. Nothing is stopped before
        supervisord and Nginx have taken their part of the change.
        """
        if not self._supervisor.is_up():
            raise StackError("nothing runs; `make up` starts it")
        self._check_keys()
        notices = [*check_before_restart(self._settings), *nginx_listeners.warnings(self._settings)]
        was_missing = self._models_missing()
        nginx_before = nginx_files(self._settings.run)
        changed = render(self._settings, models=False)
        for process in self._processes():
            if process.name == NGINX and process.state == "RUNNING" and changed & {"nginx.conf", "nginx.d"}:
                self._reload_nginx(process, nginx_before)
            elif process.group != WORKERS:
                self._start_where_missing(process)
        workers = [process.full_name for process in self._processes() if process.group == WORKERS]
        for name in workers:
            self._report(f"{name}: draining")
            self._wait(self._replaced(name), START_SECONDS, f"{name}: starting", f"{name} is not ready")
        if self._started:
            self._started.restarted(self._wanted).write(self._settings.run)
        self._wait(self._all_run, START_SECONDS, "starting", "a process does not run")
        self._wait(self._all_ready(was_missing), START_SECONDS, "starting", "the service is not ready any more")
        if self._missing:
            notices.append(f"not ready, as before: {self._what_is_missing()}")
        if len(workers) < 2 and self._settings.app.server == "builtin":
            notices.append("there is one worker only: requests waited or failed while it started")
        if changed & {"supervisord.conf", "supervisor.d"}:
            notices.append("supervisord's own settings changed; `make down` and `make up` apply them")
        return [*notices, *self._waiting()]

    def status(self) -> tuple[str, int]:
        """The table of processes, and 0 where all run."""
        if not self._supervisor.is_up():
            return "nothing runs; `make up` starts it\n", NOTHING_RUNS
        return self._supervisor.status()

    def _start(self, environ: Mapping[str, str], successor_of: int = 0) -> list[str]:
        """Start supervisord, with the sockets of processes that serve already: of one that was killed, or that is to be
        killed now."""
        before, self._settings = self._settings, self._wanted
        self._check_keys()
        notices = [*check_before_start(self._settings), *nginx_listeners.warnings(self._settings)]
        sockets = takeover.take_sockets(before, self._settings)
        if successor_of and not sockets:
            raise StackError(
                "these processes cannot be replaced while they serve (see docs/operations.md); "
                "`make restart` replaces the workers, `make down && make up` everything"
            )
        render(self._settings)
        self._prepare_container()
        if successor_of:
            kill_process(successor_of)  # at a SIGTERM it would stop the others first
        if sockets:
            takeover.keep_metrics(self._settings)
        else:
            _end_orphans(before)
            for metrics in self._settings.metrics.glob("*.db"):
                metrics.unlink()
            require_free(self._settings)
        Started.now(self._settings, environ).write(self._settings.run)
        try:
            self._supervisor.run(sockets, environ)
        except StackError:
            forget(self._settings.run)
            raise
        finally:
            for each in sockets:
                each.close()
        without_nginx = self._settings.nginx.binary and not nginx.find_nginx(self._settings)
        return [*notices, NO_NGINX] if without_nginx else notices

    def _check_keys(self) -> None:
        """Raise `SettingsError` for a broken file of keys, with which no worker starts."""
        CredentialsFile(self._settings.credentials_file).read()

    def _start_the_rest(self) -> list[str]:
        for process in self._processes():
            self._start_where_missing(process)
        return self._waiting()

    def _waiting(self) -> list[str]:
        """What the operator wants, and the processes do not know yet."""
        remembered = Started.read(self._settings.run)
        return remembered.waiting(self._wanted) if remembered else []

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

    def _reload_nginx(self, process: Process, before: Mapping[Path, str]) -> None:
        """Have Nginx take its new files; where it does not, undo them and raise `StackError`."""
        logs, workers = LogTails(self._settings.logs), nginx.workers(process.pid)
        self._supervisor.signal(NGINX, "HUP")
        problem = nginx.reload_problem(process.pid, workers, lambda: logs.new(process.log))
        if problem:
            restore_nginx_files(self._settings.run, before)
            raise StackError(f"Nginx keeps its old configuration, and nothing was restarted: {problem}")

    def _replaced(self, name: str) -> Callable[[], bool]:
        """Have a worker, or the workers of gunicorn's or uWSGI's master `name`, replaced; whether it is done."""
        process = self._supervisor.process(name)
        server = running_server(process.pid)
        before = child_processes(process.pid) if server in ("gunicorn", "uwsgi") else set()
        if not before:
            self._supervisor.stop(name)
            self._supervisor.start(name)
            return self._serves(name)
        self._settings.ready_file(process.name).unlink(missing_ok=True)
        self._supervisor.signal(name, "HUP")
        serves, again_at = self._serves(name), time.monotonic() + HUP_SECONDS

        def replaced() -> bool:
            nonlocal again_at
            children = child_processes(self._supervisor.process(name).pid)
            if server == "uwsgi" and children & before and time.monotonic() > again_at:
                self._supervisor.signal(name, "HUP")
                again_at = time.monotonic() + HUP_SECONDS
            return serves() and len(children) >= len(before) and not children & before

        return replaced

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
            Container(self._settings).prepare(self._report)

    def _serves(self, name: str) -> Callable[[], bool]:
        """Whether worker `name` accepts connections: its ready file names the process that runs now."""
        starts: set[int] = set()

        def serves() -> bool:
            process = self._supervisor.process(name)
            self._require_starting(process, starts)
            try:
                ready = int(self._settings.ready_file(process.name).read_text())
            except (OSError, ValueError):
                return False
            return ready == process.pid

        return serves

    def _all_ready(self, but: frozenset[str] = frozenset()) -> Callable[[], bool]:
        """Whether all processes run and the service says that it is ready, but for these models."""
        starts: dict[str, set[int]] = {}
        failures: dict[str, float] = {}

        def ready() -> bool:
            for process in self._processes():
                if process.has_failed:
                    raise StackError(self._failure(process))
                self._require_starting(process, starts.setdefault(process.full_name, set()))
            if not self._all_run():
                return False
            self._missing = readiness.missing(self._settings)
            for line in filter(CANNOT_LOAD.search, self._missing):
                if time.monotonic() > failures.setdefault(line, time.monotonic()) + LOAD_SECONDS:
                    raise StackError(f"the service is not ready: {line}")
            return _models(self._missing) <= but

        return ready

    def _end_what_is_left_behind(self) -> None:
        pids = takeover.left_behind(self._settings, self._supervisor.pid() or 0)
        if pids:
            self._wait(self._all_serve(), START_SECONDS, "taking over", "the service is not ready")
            takeover.drain(self._settings, pids)

    def _all_serve(self) -> Callable[[], bool]:
        """Whether workers, model server and Nginx accept themselves, and not only others in their place."""
        checks: list[Callable[[], bool]] = []
        for process in self._processes():
            if process.group == WORKERS:
                checks.append(self._serves(process.full_name))
            elif process.name == NGINX:  # what supervisord runs is at first a launcher
                checks.append(lambda: nginx.master(self._settings) == self._supervisor.process(NGINX).pid)
            elif process.name == "modelserver":
                checks.append(partial(self._listens, process.full_name))
        return lambda: all(check() for check in checks)

    def _listens(self, name: str) -> bool:
        return takeover.is_listening(self._supervisor.process(name).pid)

    def _models_missing(self) -> frozenset[str]:
        """Those that the service is not ready for now; none where something else answers, or workers of before."""
        try:
            return _models(readiness.missing(self._settings))
        except StackError:
            return frozenset()

    def _all_run(self) -> bool:
        processes = self._processes()
        return bool(processes) and all(process.state == "RUNNING" for process in processes)

    def _wait(self, done: Callable[[], bool], seconds: float, doing: str, failure: str) -> None:
        """Poll until `done`, reporting; raises `StackError` with `failure` and the newest lines of the logs."""
        since = time.monotonic()
        self._missing = []
        while not done():
            passed = time.monotonic() - since
            if passed > seconds:
                missing = f": {self._what_is_missing()}" if self._missing else ""
                raise StackError(f"{failure} after {seconds:.0f} s{missing}\n{self._logs.newest()}")
            states = ", ".join(f"{each.full_name} {each.state}" for each in self._supervisor.processes())
            self._report(f"{doing} {passed:.0f} s {self._what_is_missing() or states}")
            time.sleep(POLL_SECONDS)

    def _what_is_missing(self) -> str:
        """For the operator: with the model server's address, which clients are not told."""
        return (
            f"{'; '.join(self._missing)} (model server: {self._settings.backend.call_address})" if self._missing else ""
        )

    def _require_starting(self, process: Process, starts: set[int]) -> None:
        """Raise `StackError` for a process that supervisord starts again and again; `starts` are the pids so far."""
        starts.add(process.pid)
        if process.state == "FATAL" or len(starts - {0}) > MAX_STARTS:
            raise StackError(self._failure(process))

    def _failure(self, process: Process) -> str:
        reason = process.spawn_error or process.state
        lines = self._logs.of(process.log)
        return f"{process.full_name} does not start: {reason}; the last lines of {process.log}:\n{lines}"


def _end_orphans(settings: Settings) -> None:
    """End processes of this home that a killed supervisord left behind, and the container of a killed launcher."""
    end_processes(orphaned_processes(settings), settings.http.drain_seconds)
    container = Container(settings)
    if container.may_exist:
        container.remove()


def _models(missing: list[str]) -> frozenset[str]:
    """Whose lines these are."""
    return frozenset(line.partition(":")[0] for line in missing)
