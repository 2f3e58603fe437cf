"""The gateway's counters, in Prometheus's format.

Below supervisord each worker keeps them in a file of its own in the folder PROMETHEUS_MULTIPROC_DIR, named after its
place (app-00, ...): whichever worker is asked adds them all up, and one that is restarted goes on counting.
"""

import os

import prometheus_client
from prometheus_client import Counter, Histogram, multiprocess, values

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


def exposition() -> bytes:
    """All counters of all workers, or of this process where it is the only one."""
    if not FOLDER:
        return prometheus_client.generate_latest()
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=FOLDER)
    return prometheus_client.generate_latest(registry)
