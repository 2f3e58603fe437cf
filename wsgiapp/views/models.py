"""What is served here."""

from werkzeug.wrappers import Response

from wsgiapp import __version__
from wsgiapp.dataplane import DataPlane
from wsgiapp.http import Request, answer


def index(request: Request, dataplane: DataPlane) -> Response:
    """The first page: the configured models and where each answers."""
    models = {
        name: {"predict": f"/{name}/predict", "signature": target.signature}
        for name, target in dataplane.models.items()
    }
    return answer({"status": 0, "service": "wsgiapp", "version": __version__, "models": models})
