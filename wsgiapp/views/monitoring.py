"""Counters for Prometheus: the gateway's at `http.metrics_path`, the model server's at `backend.metrics_path`."""

from wsgiapp import metrics
from wsgiapp.http import Request, Response
from wsgiapp.views import Planes


def gateway(request: Request, planes: Planes) -> Response:
    """The counters of all workers."""
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def modelserver(request: Request, planes: Planes) -> Response:
    """The built-in model server's counters, as it wrote them."""
    return Response(planes.control.metrics(), content_type=metrics.CONTENT_TYPE)
