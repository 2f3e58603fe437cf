"""`WorkerWatch`: which workers' event loops stand still."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import gevent
from gevent import socket as gevent_socket

from wsgiapp.deployment import process_state
from wsgiapp.deployment.silence import Key, Silence
from wsgiapp.settings.schema import Settings

# Some beats are missing: time to ask.
ASK_AFTER_SECONDS = 1.0
ANSWER_SECONDS = 1.0
QUESTION = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MAX_BEATS = 1000  # in a round
MAX_BEAT_BYTES = 256


class WorkerWatch:
    """Workers send beats (`server.heartbeat`); one whose beats are missing is asked on its own socket.

    gunicorn and uWSGI look after their workers themselves.
    """

    def __init__(self, settings: Settings) -> None:
        """Listen to the beats. Raises `OSError`."""
        self.silence = Silence(settings.app.watchdog_seconds)
        self._settings = settings
        self._names = [f"app_{number:02d}" for number in range(settings.workers)]
        if settings.app.server != "builtin":
            self._names = []
        settings.beats_socket.unlink(missing_ok=True)
        self._beats = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._beats.bind(str(settings.beats_socket))
        self._beats.setblocking(False)

    def hung(self, seconds: float, supervisord: int) -> list[Key]:
        """Those to replace now; `seconds` have passed since the last look."""
        watched = list(self._serving(supervisord))
        stopped = {key for key in watched if process_state.state(key[1]) == process_state.STOPPED}
        alive = self._beaten() - stopped
        asked = [key for key in watched if key not in alive | stopped and self.silence.of(key) >= ASK_AFTER_SECONDS]
        answers = {key: gevent.spawn(self._answers, key[0]) for key in asked}
        gevent.joinall(answers.values())
        alive |= {key for key, answered in answers.items() if answered.value}
        self.silence.round(seconds, watched, alive, stopped)
        return self.silence.to_replace(len(self._names))

    def _serving(self, supervisord: int) -> Iterator[Key]:
        """Those that neither start nor drain, as their ready files say."""
        for name in self._names:
            with suppress(OSError, ValueError):
                pid = int(self._settings.ready_file(name).read_text())
                if process_state.is_child(pid, supervisord):
                    yield name, pid

    def _beaten(self) -> set[Key]:
        """Whose beats have come since the last time."""
        keys = set()
        with suppress(BlockingIOError):
            for _ in range(MAX_BEATS):
                name, _, pid = self._beats.recv(MAX_BEAT_BYTES).decode(errors="replace").rpartition(" ")
                keys.add((name, int(pid) if pid.isdecimal() else 0))
        return keys

    def _answers(self, worker: str) -> bool:
        with gevent_socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            try:
                client.connect(str(self._settings.run / f"{worker}.sock"))
                client.sendall(QUESTION)
                return bool(client.recv(1))
            except OSError:
                return False
