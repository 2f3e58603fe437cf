"""The WSGI application: the URL map, dispatching, and the wiring of all objects."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Response

from wsgiapp import settings as settings_module
from wsgiapp.backend import ModelServer
from wsgiapp.controlplane import ControlPlane
from wsgiapp.dataplane import DataPlane
from wsgiapp.http import Request, error_response
from wsgiapp.middleware import WSGIApplication, answer_request_id, log_access
from wsgiapp.settings import Settings
from wsgiapp.views import Planes, config, health, models, monitoring, predict, tfserving

log = logging.getLogger(__name__)


class Rest(BaseConverter):
    """All that follows, empty segments too."""

    regex = ".*?"
    part_isolating = False


def url_map(settings: Settings) -> Map:
    """All that is served. An endpoint is a view; it is called with the request and the planes."""
    default_model, metrics_path = settings.default_model, settings.backend.metrics_path
    return Map(
        [
            *([Rule(metrics_path, endpoint=monitoring.metrics, methods=["GET"])] if metrics_path else []),
            Rule("/", endpoint=models.index, methods=["GET"]),
            Rule("/healthz", endpoint=health.healthz, methods=["GET"]),
            Rule("/readyz", endpoint=health.readyz, methods=["GET"]),
            Rule("/predict", endpoint=predict.predict, methods=["GET", "POST"], defaults={"model": default_model}),
            Rule("/<model>/predict", endpoint=predict.predict, methods=["GET", "POST"]),
            Rule("/<model>/versions/<version>/predict", endpoint=predict.predict, methods=["GET", "POST"]),
            Rule("/<model>/labels/<label>/predict", endpoint=predict.predict, methods=["GET", "POST"]),
            Rule("/v1/config", endpoint=config.show, methods=["GET"]),
            Rule("/v1/config", endpoint=config.replace, methods=["POST"]),
            Rule("/v1/config:reload", endpoint=config.reload, methods=["POST"]),
            Rule("/v1/config:promote", endpoint=config.promote, methods=["POST"]),
            Rule("/v1/<rest:resource>", endpoint=tfserving.serve),
            Rule("/V1/<rest:resource>", endpoint=tfserving.serve),
        ],
        converters={"rest": Rest},
        redirect_defaults=False,
        merge_slashes=False,
    )


class Application:
    """The WSGI application over its planes."""

    def __init__(self, settings: Settings, planes: Planes) -> None:
        self.planes = planes
        self._urls = url_map(settings).bind("")  # the host's name plays no part
        self._max_body = settings.limits.body_bytes
        #: What middleware wraps, so that the application object itself stays within reach.
        self.wsgi_app: WSGIApplication = self._respond

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.wsgi_app(environ, start_response)

    def _respond(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        request.max_content_length = request.max_form_memory_size = self._max_body
        try:
            response = self.dispatch_request(request)
        except Exception as exc:
            response = error_response(exc, request)
            request.note(error=_reason(exc))
            if response.status_code == 500:
                log.exception("request %s failed", request.id)
        return response(environ, start_response)

    def dispatch_request(self, request: Request) -> Response:
        """The view's answer; raises what the view raises."""
        try:
            view, arguments = self._urls.match(request.path, request.method)
        except NotFound as exc:
            raise NotFound(f"nothing is served at {request.path}; / lists what is") from exc
        response: Response = view(request, self.planes, **arguments)
        return response

    def close(self) -> None:
        """Give up the channel to the model server."""
        self.planes.data.close()


def create_app(settings: Settings, access_log: BinaryIO) -> Application:
    """Wire everything. The channel is made here, so call it in the process that serves, after any fork."""
    backend = ModelServer(
        settings.backend.address,
        message_bytes=settings.backend.message_bytes,
        # Readiness asks for every model; its calls must not queue behind predictions that hang.
        max_calls=settings.limits.inflight + len(settings.models),
    )
    planes = Planes(DataPlane(settings, backend), ControlPlane(settings, backend))
    app = Application(settings, planes)
    app.wsgi_app = answer_request_id(app.wsgi_app)
    if settings.log.access:
        app.wsgi_app = log_access(app.wsgi_app, access_log)
    return app


def __getattr__(name: str) -> Any:
    """`wsgiapp.app:application`, for any WSGI server: made, and warmed, when it is first asked for."""
    if name != "application":
        raise AttributeError(name)
    app = create_app(settings_module.load(), sys.stdout.buffer)
    app.planes.data.warm_up()
    globals()["application"] = app
    return app


def _reason(exc: Exception) -> str:
    """What the log says of an error: the cause's words too, which the client was spared."""
    details = getattr(exc.__cause__, "details", None)
    return f"{exc} ({details()})" if callable(details) else str(exc)
