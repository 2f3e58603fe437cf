"""`Supervisor`: the supervisord of one home folder, and the processes that it keeps."""

import configparser
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client  # supervisord's, at its own Unix socket  # nosec B411
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.options import ServerOptions
from supervisor.xmlrpc import Faults, SupervisorTransport

from wsgiapp.deployment.supervisord import INHERITED
from wsgiapp.errors import StackError
from wsgiapp.settings.schema import control_socket

POLL_SECONDS = 0.2
STOPPING_SECONDS = 60.0  # supervisord kills what takes longer than its `stopwaitsecs`
SHUTTING_DOWN = "SHUTDOWN"
FAULT_NAMES = {code: name for name, code in vars(Faults).items() if isinstance(code, int)}


class Process(NamedTuple):
    """A process as supervisord sees it; `log` is where its messages go. States: https://supervisord.org/subprocess.html"""

    name: str
    group: str
    state: str
    pid: int
    spawn_error: str
    log: Path

    @property
    def full_name(self) -> str:
        """As supervisorctl names it."""
        return self.name if self.group == self.name else f"{self.group}:{self.name}"

    @property
    def is_started(self) -> bool:
        """Whether it runs, or may be about to."""
        return self.state in ("STARTING", "RUNNING")

    @property
    def has_failed(self) -> bool:
        """Whether it ended although it should run."""
        return self.state in ("BACKOFF", "EXITED", "FATAL")


class Supervisor:
    """Raises `StackError` where supervisord does not do what it is asked for."""

    def __init__(self, run: Path) -> None:
        """`run` is the run folder of the stack."""
        self._control_socket = control_socket(run)
        self._configuration = run / "supervisord.conf"

    def run(self, sockets: Sequence[socket.socket] = (), environ: Mapping[str, str] = os.environ) -> None:
        """Start supervisord in the background, with sockets that it is to hold instead of new ones."""
        command = [sys.executable, "-m", "wsgiapp.deployment.supervisord", "-c", str(self._configuration)]
        descriptors = [each.fileno() for each in sockets]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=descriptors,
            env={**environ, INHERITED: ",".join(map(str, descriptors))},
        )
        if done.returncode != 0:
            raise StackError(f"supervisord does not start:\n{done.stderr.strip()}")

    def status(self) -> tuple[str, int]:
        """The table of processes that supervisorctl prints, and its exit status: 0 where all run."""
        command = [_program("supervisorctl"), "-c", str(self._configuration), "status"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stdout + done.stderr, done.returncode

    def is_up(self) -> bool:
        """Whether supervisord answers, also while it shuts down."""
        return self._state() is not None

    def is_shutting_down(self) -> bool:
        """Whether supervisord is about to end."""
        return self._state() == SHUTTING_DOWN

    def pid(self) -> int | None:
        """supervisord's own; `None` where it is away or about to end."""
        pid: int | None = self._ask("getPID")
        return pid

    def shutdown(self) -> None:
        """Ask supervisord to stop all processes and end; harmless where it does so already. Returns at once."""
        self._ask("shutdown")

    def processes(self) -> list[Process]:
        """All processes; none where supervisord is away."""
        return [_process(info) for info in self._ask("getAllProcessInfo") or []]

    def start(self, name: str) -> None:
        """Start a process that does not run; returns at once."""
        self._wait_while_stopping(name)
        self._call("startProcess", name, False, expected=Faults.ALREADY_STARTED)

    def stop(self, name: str) -> None:
        """Stop a process, whatever its state; returns when it has ended."""
        self._call("stopProcess", name, True, expected=Faults.NOT_RUNNING)
        self._wait_while_stopping(name)

    def signal(self, name: str, signal_name: str) -> None:
        """Send a signal to a process that runs."""
        self._call("signalProcess", name, signal_name, expected=Faults.NOT_RUNNING)

    def process(self, name: str) -> Process:
        """One process by its full name."""
        return _process(self._call("getProcessInfo", name))

    def _wait_while_stopping(self, name: str) -> None:
        deadline = time.monotonic() + STOPPING_SECONDS
        while self.process(name).state == "STOPPING":
            if time.monotonic() > deadline:
                raise StackError(f"{name}: still stopping after {STOPPING_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _state(self) -> str | None:
        try:
            return str(self._rpc.getState()["statename"])
        except xmlrpc.client.Fault as exc:
            return SHUTTING_DOWN if exc.faultCode == Faults.SHUTDOWN_STATE else None
        except (OSError, xmlrpc.client.Error):
            return None

    def _ask(self, method: str) -> Any:
        """A call about supervisord itself; `None` where it is away, or about to end: then it takes no calls."""
        try:
            return getattr(self._rpc, method)()
        except (OSError, xmlrpc.client.Error):
            return None

    def _call(self, method: str, *arguments: Any, expected: int | None = None) -> Any:
        """A call about one process; the `expected` fault means that there is nothing to do."""
        try:
            return getattr(self._rpc, method)(*arguments)
        except xmlrpc.client.Fault as exc:
            if exc.faultCode == expected:
                return None
            fault = FAULT_NAMES.get(exc.faultCode, str(exc.faultCode))
            raise StackError(f"{arguments[0]}: supervisord cannot do {method}: {fault} ({exc.faultString})") from exc
        except (OSError, xmlrpc.client.Error) as exc:
            raise StackError(f"{arguments[0]}: supervisord does not answer ({exc})") from exc

    @property
    def _rpc(self) -> Any:
        """supervisord's calls. Made anew each time: a transport is of no use after supervisord went away under it."""
        transport = SupervisorTransport(None, None, f"unix://{self._control_socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport).supervisor


def configuration_problem(configuration: Path) -> str:
    """What supervisord does not accept in a configuration, in its words; empty where it accepts all."""
    options = ServerOptions()
    options.configfile = str(configuration)
    try:
        options.process_config(do_usage=False)
    except (ValueError, configparser.Error) as exc:
        return str(exc)
    return ""


def _process(info: dict[str, Any]) -> Process:
    log = Path(info["stderr_logfile"] or info["stdout_logfile"])
    return Process(info["name"], info["group"], info["statename"], info["pid"], info["spawnerr"], log)


def _program(name: str) -> str:
    """A program of the environment that this runs in."""
    return str(Path(sys.executable).with_name(name))
