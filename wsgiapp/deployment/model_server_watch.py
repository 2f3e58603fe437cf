"""`ModelServerWatch`: whether the model server hangs."""

import logging
import time

import gevent

from wsgiapp.backend.channel import CallError, Channel, Code
from wsgiapp.deployment import process_state
from wsgiapp.deployment.processes import child_processes
from wsgiapp.deployment.silence import Key, Silence
from wsgiapp.settings.schema import Settings

log = logging.getLogger(__name__)

NAME = "modelserver"
ASK_SECONDS = 1.0
ANSWER_SECONDS = 1.0
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
MAX_ANSWER_BYTES = 2**20
# One that is not stopped may have all its threads busy, and a check waits for a thread as any call does.
FACTOR = 10


class ModelServerWatch:
    """Asks by the gRPC health service. Any answer will do: TF Serving has no such service, and says so.

    Where nobody listens, it starts or has ended, which is supervisord's business. Of one that is not supervisord's
    (`app.backend = "external"`) it is only said that it does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.silence = Silence(FACTOR * settings.app.watchdog_seconds)
        self._is_ours = settings.app.backend != "external"
        self._address = settings.backend.call_address
        self._channel = Channel(self._address, MAX_ANSWER_BYTES)
        self._answers = True
        self._pid = 0

    def ask_regularly(self) -> None:
        """Ask every second, without an end; `hung` goes by the last answer."""
        while True:
            answered, self._answers = self._answers, self._ask()
            if answered and not self._answers:
                log.warning("the model server at %s does not answer", self._address)
            gevent.sleep(ASK_SECONDS)

    def hung(self, seconds: float, supervisord: int) -> list[Key]:
        """It, where it is to be replaced now; `seconds` have passed since the last look."""
        if not self._is_ours:
            return []
        if not process_state.is_child(self._pid, supervisord):
            self._pid = _pid(supervisord)
        key = (NAME, self._pid)
        stopped = [key] if process_state.state(self._pid) == process_state.STOPPED else []
        alive = [key] if self._answers and not stopped else []
        self.silence.round(seconds, [key] if self._pid else [], alive, stopped)
        return self.silence.to_replace(1)

    def _ask(self) -> bool:
        try:
            self._channel.call(HEALTH_CHECK, b"", time.monotonic() + ANSWER_SECONDS)
        except CallError as exc:
            return exc.is_answer or exc.code is not Code.DEADLINE_EXCEEDED
        return True


def _pid(supervisord: int) -> int:
    """0 where there is none."""
    for pid in child_processes(supervisord):
        is_named = process_state.environment_value(pid, "SUPERVISOR_PROCESS_NAME") == NAME
        if is_named and process_state.is_child(pid, supervisord):
            return pid
    return 0
