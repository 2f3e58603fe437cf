"""Counters for Prometheus: the gateway's at `http.metrics_path`, the model server's at `backend.metrics_path`."""

from wsgiapp.observability import metrics
from wsgiapp.web.planes import Planes
from wsgiapp.web.request import Request
from wsgiapp.web.response import Response


def gateway(request: Request, planes: Planes) -> Response:
    """The counters of all workers."""
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def modelserver(request: Request, planes: Planes) -> Response:
    """The built-in model server's counters, as it wrote them."""
    return Response(planes.control.metrics(), content_type=metrics.CONTENT_TYPE)
