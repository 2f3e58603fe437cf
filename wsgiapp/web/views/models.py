"""What is served here."""

from wsgiapp import __version__
from wsgiapp.web.planes import Planes
from wsgiapp.web.request import Request
from wsgiapp.web.response import Response, answer


def index(request: Request, planes: Planes) -> Response:
    """The first page: the configured models and where each answers."""
    models = {
        name: {"predict": f"/{name}/predict", "signature": target.signature}
        for name, target in planes.data.models.items()
        if request.may_use(name)
    }
    return answer({"status": 0, "service": "wsgiapp", "version": __version__, "models": models})
