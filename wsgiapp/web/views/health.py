"""Liveness and readiness."""

from wsgiapp.web.planes import Planes
from wsgiapp.web.problems import problem
from wsgiapp.web.request import Request
from wsgiapp.web.response import INSTANCE_HEADER, Response, answer


def healthz(request: Request, planes: Planes) -> Response:
    """The worker is alive; asks nobody else, so that a model server that hangs does not get workers killed."""
    return answer({"status": 0})


def readyz(request: Request, planes: Planes) -> Response:
    """Every configured model is AVAILABLE and its pipeline warm; otherwise 503.

    What is missing is for who may know it: the texts name models, versions and files.

    A gateway without models of its own, which only serves TF Serving's routes, is ready when the model server is.
    Either answer says by `INSTANCE_HEADER` whose it is: another program on the port must not pass for the service.
    """
    missing = planes.data.missing() if planes.data.models else planes.control.missing()
    is_internal = planes.is_internal(request.environ)
    if missing:
        detail, more = "not ready", {}
        if is_internal:
            detail, more = f"not ready: {'; '.join(missing)}", {"missing": missing}
        response = problem(503, detail, request.id, **more)
        response.headers.append(("Retry-After", "1"))
    else:
        response = answer({"status": 0, **({"models": list(planes.data.models)} if is_internal else {})})
    response.headers.append((INSTANCE_HEADER, planes.instance))
    return response
