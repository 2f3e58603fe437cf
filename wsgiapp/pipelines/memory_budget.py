"""`MemoryBudget`: the memory that decoded pictures may take in a process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MEBIBYTE = 2**20


class MemoryBudget:
    """Pipelines reserve what they are about to allocate; whoever runs them decides who has to wait.

    A reservation holds until the step that made it (`preprocess`, `postprocess`) is over. A step that has to wait is
    ended by an exception and begun again when there is room, so it reserves before it does anything that costs.
    """

    def __init__(self, max_bytes: int = 224 * MEBIBYTE) -> None:
        self.max_bytes = max_bytes
        self._thread = threading.local()

    def reserve(self, size: int) -> None:
        """Reserve `size` bytes, no more than `max_bytes`. Outside of `asking` there is nobody to wait for."""
        ask: Callable[[int], None] | None = getattr(self._thread, "ask", None)
        if ask:
            ask(size)

    @contextmanager
    def asking(self, ask: Callable[[int], None]) -> Iterator[None]:
        """A context in which this thread's reservations go to `ask`, which raises what ends the step."""
        self._thread.ask = ask
        try:
            yield
        finally:
            self._thread.ask = None
