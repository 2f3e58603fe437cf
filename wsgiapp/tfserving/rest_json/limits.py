"""`TensorLimits`: what one request may ask of the model server, and how long its answer may be."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wsgiapp.errors import TooLarge


class TensorLimits(NamedTuple):
    """`numbers` and `strings`: in all tensors, or examples, of a request. `answer_bytes`: of the answer."""

    numbers: int = 2**22
    strings: int = 2**16
    answer_bytes: int = 2**25

    def require(self, numbers: int, strings: int) -> None:
        """Raise `TooLarge` for more than that."""
        for count, limit, kind in ((numbers, self.numbers, "numbers"), (strings, self.strings, "strings")):
            if count > limit:
                text = f"{count:,} {kind} for the model; the limit of a request is {limit:,}; send fewer rows at a time"
                raise TooLarge("body", text)

    def bounded(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """The parts of an answer; raises `TooLarge` instead of more than is allowed."""
        size = 0
        for part in parts:
            size += len(part)
            if size > self.answer_bytes:
                raise answer_too_large(self.answer_bytes, "send fewer rows at a time")
            yield part


def answer_too_large(limit: int, advice: str) -> TooLarge:
    """The error for an answer of more than `limit` bytes."""
    return TooLarge("answer", f"it would have more than {limit:,} bytes, which is the limit; {advice}")


DEFAULT_LIMITS = TensorLimits()
