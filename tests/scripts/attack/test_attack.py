"""The heavy requests against a worker: each is answered, in short turns of its event loop, in bounded memory."""

import re
from collections.abc import Iterator

import pytest

from attack.cli import AT_ONCE, MAX_WORKER_BYTES, Finding, all_requests, attack, problems
from attack.request import HeavyRequest
from attack.requests import hostile_pictures
from attack.target import Turn, Worker
from support.http_client import fetch
from support.lexicon import give_lexicon
from support.processes import poll

BODY_BYTES = 2**19
TIMES = 2
# A turn of 50 ms is some 10 times as long as the fixed piece of work on the machine where that limit was set.
MAX_CALIBRATIONS = 10


@pytest.fixture(scope="module")
def worker(tiny_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    home = tmp_path_factory.mktemp("attacked")
    give_lexicon(home)
    worker = Worker(home, tiny_server)
    try:
        worker.wait_for("/healthz")
        yield worker
    finally:
        worker.stop()


def test_no_request_holds_a_worker_up(worker: Worker) -> None:
    wrong = []
    for request in all_requests():
        if request in hostile_pictures.REQUESTS:  # large ones only; tests/pipelines/imaging/test_bounds.py has them
            continue
        found = attack(worker, request, TIMES, BODY_BYTES)
        if found.turn.cpu > MAX_CALIBRATIONS * found.turn.calibration or found.worker_bytes > MAX_WORKER_BYTES:
            wrong.append(found.line())
        # The model server has other models, which may come out before what is wrong with the document.
        if any(status >= 500 and status != 503 for status in found.statuses):
            wrong.append(found.line())
    assert not wrong, "\n".join(wrong)
    worker.wait_for("/healthz")
    measured = re.compile(rb"^wsgiapp_event_loop_turn_seconds_count [1-9]", re.MULTILINE)
    poll(lambda: measured.search(fetch(f"{worker.url}/metrics").body), what="the turns in the worker's metrics")


def test_what_is_wrong_is_said() -> None:
    good = Finding("a", 1, [200], Turn(0.01, 0.01, 0.005), 2**20, 0.1)
    assert problems(good, frozenset({200}), by_cpu=False) == []
    bad = Finding("a", AT_ONCE, [503, 500], Turn(0.06, 0.01, 0.005), 2**30, 0.1)
    assert problems(bad, frozenset({200}), by_cpu=False) == [
        "the status [500], not [200]",
        "a turn of more than 50 ms",
        "more than 400 MB",
    ]
    assert len(problems(bad, frozenset({200, 500}), by_cpu=True)) == 1


def test_requests_have_names_and_sizes_of_their_own() -> None:
    requests = all_requests()
    assert len({request.name for request in requests}) == len(requests) > 60
    for request in requests:
        assert isinstance(request, HeavyRequest) and request.statuses
        if request.body is not None:
            assert 0 < len(request.body(2**20)) <= 16 * 2**20, request.name
