"""The model server's counters, where `backend.metrics_path` says so."""

from werkzeug.wrappers import Response

from wsgiapp.http import Request
from wsgiapp.views import Planes

# Of Prometheus's text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics(request: Request, planes: Planes) -> Response:
    """The built-in model server's counters, as it wrote them."""
    return Response(planes.control.metrics(), content_type=CONTENT_TYPE)
