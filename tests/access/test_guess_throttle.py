"""Guesses are counted by address and altogether, across workers."""

from pathlib import Path

import pytest

from wsgiapp.access import guess_throttle
from wsgiapp.access.guess_throttle import MAX_BY_ADDRESS, MAX_TOGETHER, GuessThrottle
from wsgiapp.errors import RateLimited


@pytest.fixture
def workers(tmp_path: Path) -> tuple[GuessThrottle, GuessThrottle]:
    path = tmp_path / "run/counts"
    return GuessThrottle(path), GuessThrottle(path)


def test_an_address_that_guesses_is_stopped_in_all_workers_and_no_other_one(
    workers: tuple[GuessThrottle, GuessThrottle],
) -> None:
    for number in range(MAX_BY_ADDRESS):
        workers[number % 2].require_room("10.0.0.1")
        workers[number % 2].note_wrong("10.0.0.1")
    for worker in workers:
        with pytest.raises(RateLimited) as caught:
            worker.require_room("10.0.0.1")
        assert 1 <= caught.value.retry_after <= 60
        worker.require_room("10.0.0.2")


def test_many_addresses_that_guess_have_one_each(workers: tuple[GuessThrottle, GuessThrottle]) -> None:
    worker = workers[0]
    worker.note_wrong("10.0.0.1")
    for number in range(MAX_TOGETHER):
        worker.note_wrong(f"10.1.0.{number}")
    with pytest.raises(RateLimited):
        workers[1].require_room("10.0.0.1")
    workers[1].require_room("192.0.2.7")


def test_a_client_s_ipv6_network_is_one_address(workers: tuple[GuessThrottle, GuessThrottle]) -> None:
    for number in range(MAX_BY_ADDRESS):
        workers[0].note_wrong(f"2001:db8:1:2::{number:x}")
    with pytest.raises(RateLimited):
        workers[1].require_room("2001:db8:1:2:ffff::1")
    workers[1].require_room("2001:db8:1:3::1")


def test_a_minute_later_it_may_try_again(
    workers: tuple[GuessThrottle, GuessThrottle], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MAX_BY_ADDRESS):
        workers[0].note_wrong("10.0.0.1")
    window = guess_throttle._window()
    monkeypatch.setattr(guess_throttle, "_window", lambda: window + 1)
    workers[0].require_room("10.0.0.1")
    workers[0].note_wrong("10.0.0.1")
    workers[0].require_room("10.0.0.1")


def test_without_a_file_a_worker_counts_for_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    worker = GuessThrottle(tmp_path / "file/counts")
    for _ in range(MAX_BY_ADDRESS):
        worker.note_wrong("")
    with pytest.raises(RateLimited):
        worker.require_room("")
    assert "counts wrong tokens for itself" in caplog.text
