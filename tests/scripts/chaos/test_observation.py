"""What is counted of a fault: failures, the longest gap, and when all was well again."""

import math
from array import array
from collections import Counter

import pytest

from bench.outcome import Outcome
from chaos.faults import CLOCK_FAULTS, DISK_FAULTS, FAULTS, Fault
from chaos.observation import Observation, observation
from chaos.session import Result


def outcome(answered: list[float], failed: dict[str, float]) -> Outcome:
    return Outcome(
        latencies=array("d", [0.01] * len(answered)),
        answered_at=array("d", answered),
        failed_at=array("d", failed.values()),
        errors=Counter(dict.fromkeys(failed, 1)),
        sample=", ".join(failed),
    )


def test_two_loads_are_one_observation() -> None:
    kept = outcome([1.0, 2.0, 5.0, 6.0], {"status 502": 3.0})
    new = outcome([1.5, 4.5, 5.5], {"rejected": 4.6})
    seen = observation([kept, new], acted_at=2.5)
    assert seen.requests == 9
    assert seen.errors == {"status 502": 1, "rejected": 1}
    assert seen.max_gap == 2.5  # from 2.0 to 4.5
    assert seen.seconds_to_good == 2.5  # after the last failure, at 4.6, the first right answer came at 5.0
    assert seen.sample == "status 502"


def test_a_service_that_does_not_come_back_is_never_good() -> None:
    seen = observation([outcome([1.0], {"timeout": 9.0})], acted_at=2.0)
    assert math.isnan(seen.seconds_to_good)
    assert math.isnan(seen.max_gap)


@pytest.mark.parametrize(
    ("limit", "failed", "kept"), [(0, 0, True), (0, 1, False), (20, 20, True), (20, 21, False), (None, 5, None)]
)
def test_a_promise_is_a_number_of_failures(limit: int | None, failed: int, kept: bool | None) -> None:
    fault = Fault("a fault", "故障", lambda _: None, limit)
    seen = Observation(1000, Counter({"status 502": failed}), 0.1, 1.0, "")
    assert Result(fault, seen).is_kept is kept


def test_a_fault_that_was_not_made_keeps_nothing() -> None:
    assert Result(FAULTS[0], None, "no C compiler").is_kept is None


def test_each_fault_has_a_name_of_its_own_in_both_languages() -> None:
    faults = [*FAULTS, *DISK_FAULTS, *CLOCK_FAULTS]
    assert len({fault.name for fault in faults}) == len({fault.name_zh for fault in faults}) == len(faults)
