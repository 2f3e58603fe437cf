"""Counters for Prometheus: the gateway's at `http.metrics_path`, the model server's at `backend.metrics_path`.

They tell which models there are and how much each is used, so the public does not see that they are served at all.
"""

from werkzeug.exceptions import NotFound

from wsgiapp.observability import metrics
from wsgiapp.web.planes import Planes
from wsgiapp.web.request import Request
from wsgiapp.web.response import Response


def gateway(request: Request, planes: Planes) -> Response:
    """The counters of all workers."""
    _require_internal(request, planes)
    return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)


def modelserver(request: Request, planes: Planes) -> Response:
    """The built-in model server's counters, as it wrote them."""
    _require_internal(request, planes)
    return Response(planes.control.metrics(), content_type=metrics.CONTENT_TYPE)


def _require_internal(request: Request, planes: Planes) -> None:
    if not planes.is_internal(request.environ):
        raise NotFound(f"nothing is served at {request.path}; / lists what is")
