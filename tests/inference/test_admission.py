"""How many calls are in flight, and which one is one too many."""

import time

import pytest

from wsgiapp.errors import Overloaded
from wsgiapp.inference.admission import Admission


def test_one_more_is_rejected_until_one_has_ended() -> None:
    admission = Admission(2)
    with admission.admit(1.0):
        admission.require_room()
        with admission.admit(1.0):
            with pytest.raises(Overloaded, match="2 predictions are in flight"):
                admission.require_room()
            with pytest.raises(Overloaded), admission.admit(1.0):
                raise AssertionError("it was let in")
        admission.require_room()


def test_a_call_that_fails_is_no_longer_in_flight() -> None:
    admission = Admission(1)
    for _ in range(3):
        with pytest.raises(KeyError), admission.admit(1.0):
            raise KeyError
    admission.require_room()


def test_a_call_has_its_deadline_from_its_admission() -> None:
    before = time.monotonic()
    with Admission(1).admit(5.0) as deadline:
        assert before + 5.0 <= deadline <= time.monotonic() + 5.0
