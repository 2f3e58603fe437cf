"""The gateway's counters, in Prometheus's format.

Below supervisord each worker keeps them in a file of its own in the folder PROMETHEUS_MULTIPROC_DIR, named after its
place (app-00, ...): whichever worker is asked adds them all up, and one that is restarted goes on counting.
"""

import os

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram, multiprocess, values

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
if FOLDER:
    place = os.environ.get("SUPERVISOR_PROCESS_NAME", str(os.getpid())).replace("_", "-")
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: place)

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

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


def exposition() -> bytes:
    """All counters of all workers, or of this process where it is the only one."""
    if not FOLDER:
        return prometheus_client.generate_latest()
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=FOLDER)
    return prometheus_client.generate_latest(registry)
