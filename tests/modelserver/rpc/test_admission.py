"""How the slots for predictions are shared among the models."""

from contextlib import ExitStack
from typing import Any

import pytest

from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.rpc.admission import DEFAULT_SLOTS, Admission


class Call:
    """The part of a gRPC context that admission needs, of a call whose deadline has passed: it does not wait."""

    def is_active(self) -> bool:
        return True

    def time_remaining(self) -> float:
        return 0.0

    def add_callback(self, callback: Any) -> bool:
        return True


def taken(admission: Admission, model: str, slots: ExitStack) -> int:
    """How many slots a model can take now; they are given back with `slots`."""
    count = 0
    while True:
        try:
            slots.enter_context(admission.slot(model, Call()))  # type: ignore[arg-type]
        except ServingError:
            return count
        count += 1


@pytest.mark.parametrize(
    ("slots", "models", "greedy", "second"),
    [
        (16, 1, 16, 0),
        (16, 2, 12, 4),
        (16, 3, 12, 2),
        (16, 10, 7, 1),
        (2, 4, 2, 0),  # too few for all: the queue alone is fair
        (1, 1, 1, 0),
    ],
)
def test_a_model_borrows_what_others_leave_idle_but_for_half_of_their_shares(
    slots: int, models: int, greedy: int, second: int
) -> None:
    admission = Admission(slots)
    admission.set_models(models)
    with ExitStack() as held:
        assert taken(admission, "greedy", held) == greedy
        assert taken(admission, "second", held) == second
    with ExitStack() as held:
        assert taken(admission, "second", held) == greedy, "all was given back"


def test_there_are_two_slots_a_model_where_there_are_many() -> None:
    admission = Admission()
    admission.set_models(3)
    with ExitStack() as held:
        assert sum(taken(admission, model, held) for model in "abc") == DEFAULT_SLOTS
    admission.set_models(40)
    with ExitStack() as held:
        assert sum(taken(admission, f"m{number}", held) for number in range(40)) == 80


def test_a_model_that_comes_has_its_share_at_once() -> None:
    admission = Admission(8)
    with ExitStack() as held:
        assert taken(admission, "first", held) == 8
        admission.set_models(2)
        assert taken(admission, "second", held) == 2
    with ExitStack() as held:
        assert taken(admission, "first", held) == 6
        assert taken(admission, "second", held) == 2
