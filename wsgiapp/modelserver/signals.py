"""SIGTERM and SIGINT: the first one drains, the second one ends the process at once."""

import os
import signal
import threading

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Sets `stop` at the first signal. Until `drain_first` is called, there is nothing to drain, and it ends at once.

    The signals arrive by a pipe (`signal.set_wakeup_fd`) at a thread of their own: a Python handler would have to wait
    for the main thread, which may be in the middle of TensorFlow, or hold the lock that setting an event needs.
    """

    def __init__(self) -> None:
        """Handle the signals from now on; to be called by the main thread."""
        self.stop = threading.Event()
        self._drains = False
        self._received, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        for number in _NUMBERS:
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def drain_first(self) -> None:
        self._drains = True

    def _listen(self) -> None:
        while True:
            number = os.read(self._received, 1)[0]
            if number not in _NUMBERS:
                continue
            if not self._drains:
                os._exit(0)
            if self.stop.is_set():
                os._exit(128 + number)
            self.stop.set()
