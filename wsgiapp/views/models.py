"""What is served here."""

from wsgiapp import __version__
from wsgiapp.http import Request, Response, answer
from wsgiapp.views import Planes


def index(request: Request, planes: Planes) -> Response:
    """The first page: the configured models and where each answers."""
    models = {
        name: {"predict": f"/{name}/predict", "signature": target.signature}
        for name, target in planes.data.models.items()
    }
    return answer({"status": 0, "service": "wsgiapp", "version": __version__, "models": models})
