"""The counters of one process, and of several that are added up, whoever of them is asked, killed or started again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wsgiapp.observability import metrics

# A worker that makes a call of so many rows, and is asked then: its answer, and an end without any goodbye.
WORKER = """
import os, sys
from wsgiapp.observability import metrics
for rows in map(int, sys.argv[1:]):
    metrics.BATCH_ROWS.labels("lstm").observe(rows)
print(metrics.exposition().decode(), flush=True)
os._exit(9)
"""


class Workers:
    """Workers that keep their counters in one folder, as supervisord starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str, *rows: int) -> dict[str, float]:
        """What a worker of that name answers after calls of so many rows."""
        env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self.folder)}
        env.pop("SUPERVISOR_PROCESS_NAME", None)
        if name:
            env["SUPERVISOR_PROCESS_NAME"] = name
        done = subprocess.run(
            [sys.executable, "-c", WORKER, *map(str, rows)], env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 9, done.stderr
        return values(done.stdout)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


def values(text: str) -> dict[str, float]:
    """Every sample of the demo model's batches; a bucket by its limit."""
    return {
        sample.name.removeprefix("wsgiapp_batch_rows_") + sample.labels.get("le", ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("wsgiapp_batch_rows") and sample.labels.get("model") == "lstm"
    }


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    return Workers(tmp_path)


def test_one_process_answers_for_itself() -> None:
    metrics.QUEUE_SECONDS.labels("test_metrics").observe(0.003)
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert families["wsgiapp_batch_rows"].type == families["wsgiapp_queue_seconds"].type == "histogram"
    assert families["wsgiapp_queue_seconds"].documentation.endswith(".")
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["wsgiapp_queue_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["model"] == "test_metrics"
    }
    assert (buckets["0.0025"], buckets["0.005"], buckets["+Inf"]) == (0.0, 1.0, 1.0)


def test_whichever_worker_is_asked_adds_all_up(workers: Workers) -> None:
    assert workers.run("app_00", 1, 64)["sum"] == 65
    seen = workers.run("app_01", 8)
    assert (seen["count"], seen["sum"]) == (3, 73)
    assert (seen["bucket1.0"], seen["bucket8.0"], seen["bucket32.0"], seen["bucket64.0"]) == (1, 2, 2, 3)
    assert workers.run("app_00")["sum"] == 73


def test_a_worker_that_is_killed_and_started_again_goes_on_counting(workers: Workers) -> None:
    for turn in range(1, 4):
        assert workers.run("app_00", 2)["sum"] == 2 * turn
    assert workers.files() == [f"{kind}_app-00.db" for kind in metrics.KINDS], "restarts leave no files behind"
    workers.run("app_10", 1)
    assert workers.files() == [f"{kind}_app-{place}.db" for kind in metrics.KINDS for place in ("00", "10")]


def test_workers_without_a_name_go_by_their_process_ids(workers: Workers) -> None:
    workers.run("", 1)
    assert workers.run("", 1)["sum"] == 2
    assert len(workers.files()) == 2 * len(metrics.KINDS)
