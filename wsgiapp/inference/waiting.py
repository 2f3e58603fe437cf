"""`Waiting`: a request that waits for its turn."""

from gevent.hub import Waiter, get_hub


class Waiting:
    """One request in a queue. Whoever takes it out says what becomes of it: its turn has come, or it is rejected.

    It may belong to another thread's event loop than they.
    """

    __slots__ = ("_hub", "_waiter", "cost", "deadline", "error", "is_batch", "is_queued")

    def __init__(self, cost: float, deadline: float, is_batch: bool) -> None:
        """`deadline` is a point in time of its queue's clock."""
        self.cost = cost
        self.deadline = deadline
        self.is_batch = is_batch
        self.is_queued = True
        self.error: Exception | None = None
        self._hub = get_hub()
        self._waiter = Waiter(self._hub)

    @property
    def has_turn(self) -> bool:
        return not self.is_queued and self.error is None

    def wait(self, seconds: float) -> None:
        """Return when it was taken out of the queue, or after so many seconds."""
        timer = self._hub.loop.timer(max(0.0, seconds))
        timer.start(self._waiter.switch, None)
        try:
            self._waiter.get()
        finally:
            timer.stop()
            timer.close()

    def take_out(self, error: Exception | None = None) -> None:
        """Its turn has come; or it ends with an error."""
        self.is_queued, self.error = False, error
        self._hub.loop.run_callback_threadsafe(self._waiter.switch, None)
