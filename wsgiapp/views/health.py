"""Liveness and readiness."""

from werkzeug.wrappers import Response

from wsgiapp.dataplane import DataPlane
from wsgiapp.http import Request, answer, problem


def healthz(request: Request, dataplane: DataPlane) -> Response:
    """The worker is alive; asks nobody else, so that a model server that hangs does not get workers killed."""
    return answer({"status": 0})


def readyz(request: Request, dataplane: DataPlane) -> Response:
    """Every configured model is AVAILABLE and its pipeline warm; otherwise 503 with what is missing."""
    missing = dataplane.missing()
    if not missing:
        return answer({"status": 0, "models": list(dataplane.models)})
    response = problem(503, "not ready: " + "; ".join(missing), request.id, missing=missing)
    response.headers["Retry-After"] = "1"
    return response
