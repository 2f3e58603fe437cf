"""`CallOptions`: what a client says of how its request is to be treated."""

from typing import NamedTuple

from wsgiapp.errors import DeadlineExceeded

SPENT = "the deadline passed before the request reached the model"


class CallOptions(NamedTuple):
    """`timeout_seconds`: the client's own deadline. `spent_seconds`: gone before the request arrived here.

    `is_batch`: it may wait, and is rejected before others are.
    """

    timeout_seconds: float | None = None
    spent_seconds: float = 0.0
    is_batch: bool = False

    def seconds(self, max_seconds: float) -> float:
        """What is left of the deadline, which is `max_seconds` or the client's own, whichever is shorter.

        Raises `DeadlineExceeded` where nothing is.
        """
        timeout, spent, _ = self
        left = (max_seconds if timeout is None or timeout > max_seconds else timeout) - spent
        if left <= 0:
            raise DeadlineExceeded(SPENT)
        return left


DEFAULT = CallOptions()
