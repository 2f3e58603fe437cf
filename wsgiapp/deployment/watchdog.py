"""`Watchdog`: replaces a worker or a model server that runs and does nothing. supervisord sees only what ends."""

import logging
import os
import signal
import time
from contextlib import suppress

import gevent

from wsgiapp.deployment import process_state
from wsgiapp.deployment.model_server_watch import ModelServerWatch
from wsgiapp.deployment.process_state import STOPPED
from wsgiapp.deployment.silence import Key, Silence
from wsgiapp.deployment.worker_watch import WorkerWatch
from wsgiapp.inference.waiting_room import WaitingRoom
from wsgiapp.settings.schema import Settings

log = logging.getLogger(__name__)

ROUND_SECONDS = 0.25
# Who wakes so late was held up: the machine slept, or had no processor to spare. What is watched had none either.
MAX_LATE_SECONDS = 0.5
MAX_ROUND_SECONDS = 2.0
# Stacks are written at once by whoever still can.
STACKS_SECONDS = 0.3


class Watchdog:
    """Watches the children of one home's supervisord.

    Only who serves is watched, not who starts or drains. While supervisord itself is stopped nothing is replaced:
    nobody would start it again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = WorkerWatch(settings)
        self._model_server = ModelServerWatch(settings)
        self._waiting_room = WaitingRoom(settings)

    def run(self) -> None:
        """Watch, without an end."""
        gevent.spawn(self._model_server.ask_regularly)
        before = time.monotonic()
        while True:
            slept_from = time.monotonic()
            gevent.sleep(ROUND_SECONDS)
            now = time.monotonic()
            is_late = now - slept_from > ROUND_SECONDS + MAX_LATE_SECONDS
            self.round(0.0 if is_late else min(now - before, MAX_ROUND_SECONDS))
            before = now

    def round(self, seconds: float) -> None:
        """Look at everybody once; `seconds` have passed since the last time."""
        self._waiting_room.reopen()
        supervisord = self._supervisord()
        if not supervisord or process_state.state(supervisord) == STOPPED:
            return
        for key in self._workers.hung(seconds, supervisord):
            _replace(key, self._workers.silence, signal.SIGKILL)
        # SIGTERM: a container's launcher stops the container.
        number = signal.SIGTERM if self._settings.app.backend == "container" else signal.SIGKILL
        for key in self._model_server.hung(seconds, supervisord):
            _replace(key, self._model_server.silence, number)

    def _supervisord(self) -> int:
        """Its process id; 0 where there is none."""
        try:
            pid = int((self._settings.run / "supervisord.pid").read_text())
        except (OSError, ValueError):
            return 0
        return 0 if process_state.state(pid) in ("", "Z") else pid


def _replace(key: Key, silence: Silence, number: signal.Signals) -> None:
    """End it by a signal; supervisord starts it anew. Before, all that can be known of it goes to the log."""
    name, pid = key
    state = process_state.state(pid)
    log.error("%s, pid %d, shows no sign of life for %.2f s; state %s", name, pid, silence.of(key), state)
    for line in process_state.threads(pid):
        log.error("%s: %s", name, line)
    with suppress(ProcessLookupError):
        if state != STOPPED and number is signal.SIGKILL:
            os.kill(pid, signal.SIGUSR1)  # its stacks, in its own log
            gevent.sleep(STACKS_SECONDS)
        os.kill(pid, number)
    log.error("%s, pid %d, was sent %s; supervisord starts it anew", name, pid, number.name)
    silence.replaced(key)
