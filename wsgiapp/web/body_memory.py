"""`BodyMemory`: the request bodies that a worker holds at a time."""

from wsgiapp.errors import Overloaded

# Smaller ones are not counted: so many as could matter are more than are in flight.
COUNTED_BYTES = 64 * 1024


class BodyMemory:
    """Lets bodies in up to `max_bytes` together; one more is rejected before it is read. A single one always fits."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes. Raises `Overloaded` where they are too many."""
        if self._held and self._held + size > self._max_bytes:
            raise Overloaded(f"bodies of {self._held:,} bytes are being answered; try again in a moment")
        self._held += size

    def give_back(self, size: int) -> None:
        """Hold `size` bytes no more."""
        self._held -= size
