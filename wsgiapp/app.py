"""The WSGI application: the URL map, dispatching, and the wiring of all objects."""

import logging
import math
import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from io import FileIO
from typing import Any

from werkzeug.exceptions import NotFound, RequestURITooLarge
from werkzeug.routing import BaseConverter, Map, Rule

from wsgiapp.access.authenticator import Authenticator
from wsgiapp.access.counts import Counts
from wsgiapp.access.credentials_file import CredentialsFile
from wsgiapp.access.guess_throttle import GuessThrottle
from wsgiapp.access.key_guard import KeyGuard
from wsgiapp.access.management_tokens import ManagementTokens
from wsgiapp.backend.interface import Backend, Target
from wsgiapp.backend.model_server import ModelServer
from wsgiapp.errors import SettingsError, with_cause
from wsgiapp.inference.admission import Admission, Concurrency, Share
from wsgiapp.inference.batch_parity import BatchParity
from wsgiapp.inference.batcher import BatchLimits
from wsgiapp.inference.data_plane import DataPlane
from wsgiapp.inference.lane import Room
from wsgiapp.inference.native_threads import NativeThreads
from wsgiapp.inference.passthrough import Passthrough
from wsgiapp.inference.route import Route, usual_cost
from wsgiapp.inference.shared_calls import SharedCalls
from wsgiapp.inference.traffic import Split
from wsgiapp.inference.waiting_room import WaitingRoom
from wsgiapp.management.control_plane import ControlPlane
from wsgiapp.observability import logs
from wsgiapp.pipelines import registry
from wsgiapp.pipelines.memory_budget import MemoryBudget
from wsgiapp.pipelines.pipeline import ImageLimits, Resources, TextLimits
from wsgiapp.settings.schema import Settings
from wsgiapp.settings.started import process_settings
from wsgiapp.settings.tables.models import Model
from wsgiapp.tfserving.rest_json.limits import TensorLimits
from wsgiapp.web.access_log import Stream, WSGIApplication, log_access
from wsgiapp.web.audience import Audience, behind_proxies
from wsgiapp.web.body_memory import BodyMemory
from wsgiapp.web.client_gone import aborted_when_client_goes
from wsgiapp.web.compatibility import as_flask
from wsgiapp.web.cors import Cors, is_preflight
from wsgiapp.web.planes import Planes
from wsgiapp.web.problems import error_response
from wsgiapp.web.request import MAX_PATH_BYTES, Request
from wsgiapp.web.response import Response
from wsgiapp.web.turns import give_way
from wsgiapp.web.views import config, health, models, monitoring, predict, tfserving

log = logging.getLogger(__name__)

# Most requests are to a few paths: where these lead is remembered.
KNOWN_PATHS = 1024
MAX_KNOWN_PATH = 256
# What is of no use to anybody once its client has gone, and changes nothing.
ABORTED_WITH_CLIENT = frozenset({predict.predict, tfserving.serve})
# Predictions of a model that a worker has in flight until it knows how long they take.
INITIAL_CONCURRENCY = 32
# Where API keys are asked for, they are here. Management has tokens of its own.
NEED_KEYS = frozenset({models.index, predict.predict, tfserving.serve})


class Rest(BaseConverter):
    """All that follows, empty segments too."""

    regex = ".*?"
    part_isolating = False


def url_map(settings: Settings) -> Map:
    """All that is served. An endpoint is a view; it is called with the request and the planes."""
    default_model = settings.default_model
    paths = {settings.http.metrics_path: monitoring.gateway, settings.backend.metrics_path: monitoring.modelserver}
    return Map(
        [
            *(Rule(path, endpoint=view, methods=["GET"]) for path, view in paths.items() if path),
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
        self._known_match = lru_cache(KNOWN_PATHS)(self._urls.match)
        self._keys = planes.keys
        self._max_body = settings.limits.body_bytes
        self._max_json_memory = settings.limits.json_memory_bytes
        self._bodies = BodyMemory(settings.limits.bodies_bytes)
        self._cors = Cors(settings.http)
        self._as_flask = settings.http.compatibility == "flask"
        #: What middleware wraps, so that the application object itself stays within reach.
        self.wsgi_app: WSGIApplication = self._respond

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.wsgi_app(environ, start_response)

    def _respond(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ, self._max_body, self._max_json_memory, self._bodies)
        try:
            response = self.dispatch_request(request)
        except Exception as exc:
            response = error_response(exc, request)
            request.note(error=with_cause(exc))
            if response.status == 500:
                log.exception("request %s failed", request.id)
        finally:
            request.close()
        response.headers.append(("X-Request-ID", request.id))
        request.note(status=response.status, bytes=len(response.body))
        if self._as_flask:  # after the log, which has the status that tells errors apart
            response = as_flask(response, request.path)
        if self._cors:
            response.headers += self._cors.headers(request)
        return response(environ, start_response)

    def dispatch_request(self, request: Request) -> Response:
        """The view's answer; raises what the view raises."""
        if self._cors and is_preflight(request):
            return Response(b"")
        if len(request.path) > MAX_PATH_BYTES:  # of another WSGI server
            raise RequestURITooLarge("the path is longer than any that is served here")
        try:
            match = self._known_match if len(request.path) <= MAX_KNOWN_PATH else self._urls.match
            view, arguments = match(request.path, request.method)
        except NotFound as exc:
            raise NotFound(f"nothing is served at {request.path}; / lists what is") from exc
        if self._keys is not None and view in NEED_KEYS:
            self._admit(self._keys, request, arguments.get("model", ""))
        if view not in ABORTED_WITH_CLIENT:
            return view(request, self.planes, **arguments)
        with aborted_when_client_goes(request.environ):
            return view(request, self.planes, **arguments)

    def _admit(self, keys: KeyGuard, request: Request, model: str) -> None:
        if request.method == "OPTIONS":  # which asks what it may send
            return
        try:
            keys.admit(request.environ, model)
        finally:
            if request.key is not None:
                request.note(key=request.key.name)

    def warm_up(self) -> None:
        """Load what the first request would otherwise wait for."""
        self.planes.data.warm_up()
        self.planes.data.catch_up()

    def close(self) -> None:
        """Close the channel to the model server."""
        self.planes.data.close()


def create_app(settings: Settings, access_log: Stream) -> Application:
    """Wire everything. The channel is made here, so call it in the process that serves, after any fork."""
    # OpenCV's own check of what it is about to allocate, behind the pipelines'; it reads this when it is imported.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(settings.limits.image_pixels)
    backend = ModelServer(
        settings.backend.call_address,
        message_bytes=settings.backend.message_bytes,
        reconnect_wait_seconds=settings.backend.reconnect_wait_seconds,
    )
    app = Application(settings, create_planes(settings, backend))
    if settings.log.access:
        app.wsgi_app = log_access(app.wsgi_app, access_log)
    if settings.http.trusted_proxies:
        app.wsgi_app = behind_proxies(app.wsgi_app, settings)
    return app


def create_planes(settings: Settings, backend: Backend) -> Planes:
    """What the views work with, over a model server. Raises `SettingsError` for a model's pipeline or its options."""
    limits = settings.limits
    memory = MemoryBudget(limits.decoded_bytes)
    resources = Resources(
        text=TextLimits(chars=limits.text_chars, rows=limits.text_rows, words=limits.tensor_strings),
        image=ImageLimits(pixels=limits.image_pixels, memory=memory),
        cache=settings.cache,
        encoding="pickle" if settings.http.compatibility == "flask" else "png",
        answer_bytes=limits.answer_bytes,
        pause=give_way,
    )
    threads = NativeThreads(len(os.sched_getaffinity(0)) + 1, memory)
    routes = {name: _route(model, backend, resources, threads) for name, model in settings.models.items()}
    cores = math.ceil(len(os.sched_getaffinity(0)) / settings.workers)  # which the workers share
    shares = [
        Share(model.name, model.share, _concurrency(model, routes[model.name], cores))
        for model in settings.models.values()
    ]
    data = DataPlane(
        routes,
        backend,
        Passthrough(backend),
        Admission(Room(limits.inflight, limits.queue_seconds, when_full=WaitingRoom(settings).close), shares),
        settings.backend.deadline_seconds,
    )
    authenticator = Authenticator(CredentialsFile(settings.credentials_file))
    throttle = GuessThrottle(settings.run / "wrong-tokens.counts")
    return Planes(
        data,
        ControlPlane(settings, backend),
        ManagementTokens(settings.management.token, authenticator, throttle),
        KeyGuard(authenticator, Counts(settings.counts_file, 1)) if settings.access.keys else None,
        settings.instance,
        Audience(settings).is_internal,
        TensorLimits(limits.tensor_numbers, limits.tensor_strings, limits.answer_bytes),
    )


def _route(model: Model, backend: Backend, resources: Resources, threads: NativeThreads) -> Route:
    try:
        pipeline = registry.create(model.pipeline, model.options, resources)
    except SettingsError as exc:
        raise SettingsError(f"models.{model.name}.{exc}") from exc
    target = Target(model.name, model.signature, model.version, model.label)
    parity = BatchParity(backend, target, pipeline.examples, pipeline.padding) if model.batching else None
    limits = BatchLimits(model.max_batch_size, model.max_inflight)
    calls, large_calls = (
        SharedCalls(model.name, backend, parity, limits, pipeline.padding, model.max_single_calls) for _ in range(2)
    )
    return Route(
        target=target,
        split=Split(model.split) if model.split else None,
        split_key=model.split_key,
        warm_up=pipeline.warm_up,
        preprocess=pipeline.preprocess,
        postprocess=pipeline.postprocess,
        threads=threads if pipeline.heavy else None,
        calls=calls,
        large_calls=large_calls,
        cost=getattr(pipeline, "cost", usual_cost),
        deadline_seconds=model.deadline_seconds,
    )


def _concurrency(model: Model, route: Route, cores: int) -> Concurrency:
    """Of a heavy pipeline as many as a worker's cores prepare, and as many at the model server: more would only wait
    there, and keep other models' calls waiting.
    """
    if route.threads:
        most = 2 * cores
    elif not model.batching:
        most = model.max_single_calls
    else:
        return Concurrency(INITIAL_CONCURRENCY)
    return Concurrency(most, most)


def __getattr__(name: str) -> Any:
    """`wsgiapp.app:application`, for any WSGI server: made, and warmed, when it is first asked for.

    Its access log is standard output, which such a server's processes share: each line is written at once and whole.
    """
    if name != "application":
        raise AttributeError(name)
    settings = process_settings()
    logs.configure(settings.log.level)
    app = create_app(settings, FileIO(sys.stdout.fileno(), "wb", closefd=False))
    app.warm_up()
    globals()["application"] = app
    return app
