"""The gateway's counters, in Prometheus's format.

Below supervisord each worker keeps them in a file of its own in the folder PROMETHEUS_MULTIPROC_DIR, named after its
place (app-00, ...): whichever worker is asked adds them all up, and one that is restarted goes on counting.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram, multiprocess, values

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
KINDS = ("counter", "gauge_livesum", "histogram")
FILE_BYTES = 64 * 1024  # as prometheus_client makes them


def _has_room(folder: Path, place: str) -> bool:
    """Make this process's files as large as they will be. They are mapped: a page for which the disk has no room any
    more when it is first written to would end the process (SIGBUS).
    """
    for path in (folder / f"{kind}_{place}.db" for kind in KINDS):
        try:
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
        except OSError:
            with suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()
            return False
    return True


if FOLDER:
    own_place = os.environ.get("SUPERVISOR_PROCESS_NAME", str(os.getpid())).replace("_", "-")
    if _has_room(Path(FOLDER), own_place):
        values.ValueClass = values.MultiProcessValue(process_identifier=lambda: own_place)
    else:  # only this process knows what it has counted
        values.ValueClass = values.MutexValue

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4


class CountingHistogram(Histogram):
    """A histogram that takes many observations of its first bucket at once."""

    @property
    def min_bound(self) -> float:
        """The upper bound of the first bucket."""
        return float(self._upper_bounds[0])

    def observe_short(self, count: int, total: float) -> None:
        """`count` observations below `min_bound`, whose sum is `total`."""
        self._buckets[0].inc(count)
        self._sum.inc(total)


BATCH_ROWS = Histogram(
    "wsgiapp_batch_rows",
    "Rows of a call to the model server.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
QUEUE_SECONDS = Histogram(
    "wsgiapp_queue_seconds",
    "Seconds that the oldest request of a batch waited for its call to leave.",
    ["model"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
LOOP_TURN_SECONDS = CountingHistogram(
    "wsgiapp_event_loop_turn_seconds",
    "Seconds that a turn of a worker's event loop took: so long all its other requests wait.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# `size` is "large" for requests that cost many times the usual, see `inference.admission`; all workers are added up.
CONCURRENCY_LIMIT = Gauge(
    "wsgiapp_concurrency_limit",
    "Predictions that may be in flight; it follows from how long they take.",
    ["model", "size"],
    multiprocess_mode="livesum",
)
INFLIGHT_REQUESTS = Gauge(
    "wsgiapp_inflight_requests",
    "Predictions that are in flight, as of the last second.",
    ["model", "size"],
    multiprocess_mode="livesum",
)
QUEUED_REQUESTS = Gauge(
    "wsgiapp_queued_requests",
    "Predictions that wait for their turn, as of the last second.",
    ["model", "size"],
    multiprocess_mode="livesum",
)
REJECTED_REQUESTS = Counter(
    "wsgiapp_rejected_requests",
    "Predictions that a worker rejected: it held too many (full), the wait would have been too long (wait), others "
    "went first (priority), the deadline passed in the queue (deadline). What Nginx rejects is in its access log.",
    ["model", "reason"],
)
LOG_LINES_DROPPED = Counter(
    "wsgiapp_log_lines_dropped",
    "Lines that were not written because nobody read the log: the access log, or the process's own on stderr.",
    ["log"],
)
REQUESTS_BY_KEY = Counter(
    "wsgiapp_requests_by_key",
    "Requests by the name of their API key: admitted, of a model that the key may not use (forbidden), above its rate "
    "or daily quota (rate, quota), and, with an empty name, without a valid key (unauthenticated).",
    ["key", "outcome"],
)
AUDIT_LINES_LOST = Counter(
    "wsgiapp_audit_lines_lost",
    "Changes whose outcome could not be written to the audit log; the process's own log has it.",
    ["action"],
)


# To add up the workers' files takes milliseconds, in which a worker does nothing else; who asks more often than this
# gets the same text again.
EXPOSITION_SECONDS = 1.0


def exposition() -> bytes:
    """All counters of all workers, of a moment not longer ago than `EXPOSITION_SECONDS`; or of this process where it
    is the only one."""
    global _added_up, _added_up_at
    if not FOLDER:
        return prometheus_client.generate_latest()
    now = time.monotonic()
    if now >= _added_up_at + EXPOSITION_SECONDS:
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=FOLDER)
        _added_up, _added_up_at = prometheus_client.generate_latest(registry), now
    return _added_up


_added_up, _added_up_at = b"", -EXPOSITION_SECONDS
