"""The state of the lanes as gauges, brought up to date every second: at each request it would cost microseconds."""

import gevent

from wsgiapp.inference.admission import Admission
from wsgiapp.observability.metrics import CONCURRENCY_LIMIT, INFLIGHT_REQUESTS, QUEUED_REQUESTS

REPORT_SECONDS = 1.0


def report(admission: Admission) -> None:
    """Set the gauges."""
    for model, size, lane in admission.lanes:
        CONCURRENCY_LIMIT.labels(model, size).set(lane.limit.limit)
        INFLIGHT_REQUESTS.labels(model, size).set(lane.inflight)
        QUEUED_REQUESTS.labels(model, size).set(lane.waiting)


def report_regularly(admission: Admission) -> None:
    """Do so for good."""
    while True:
        report(admission)
        gevent.sleep(REPORT_SECONDS)
