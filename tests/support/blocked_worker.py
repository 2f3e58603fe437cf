"""What of a worker the watchdog sees: a ready file, beats, stacks at SIGUSR1. It blocks when it gets SIGUSR2.

Usage: blocked_worker.py HOME NAME
"""

import signal
import sys
import time

import gevent

from wsgiapp.observability.native_output import NativeOutput
from wsgiapp.server.heartbeat import send_beats
from wsgiapp.server.serving import _announced
from wsgiapp.settings.loading import load_settings


def block_the_loop() -> None:
    time.sleep(600)


def main() -> None:
    settings = load_settings({"WSGIAPP_HOME": sys.argv[1]})
    ready_file = settings.ready_file(sys.argv[2])
    gevent.signal_handler(signal.SIGUSR2, block_the_loop)
    with NativeOutput(ready_file.with_suffix(".stderr")), _announced(ready_file):
        send_beats(settings.beats_socket, ready_file.stem)


if __name__ == "__main__":
    main()
