"""Predictions: `/predict` and `/<model>/predict`, of a version or label, too."""

from typing import Any
from urllib.parse import quote

from wsgiapp.errors import InvalidField
from wsgiapp.inference.data_plane import Timing
from wsgiapp.inference.route import Choice
from wsgiapp.pipelines.pipeline import Media
from wsgiapp.tfserving.messages import INT64_MAX
from wsgiapp.tfserving.rest_json.limits import answer_too_large
from wsgiapp.tfserving.version_dirs import version_number
from wsgiapp.web.planes import Planes
from wsgiapp.web.request import Request
from wsgiapp.web.response import Response, answer

ANY = Choice()


def predict(request: Request, planes: Planes, model: str, version: str = "", label: str = "") -> Response:
    """Answer one payload with JSON whose `status` is 0, or with a bare picture; both say which version answered."""
    request.note(model=model)
    options = request.call_options()
    planes.data.require_room(model, options)
    header = planes.data.split_key(model)
    key = "" if header is None else request.headers.get(header, "") or request.client
    choice = (
        Choice(*_asked(request, version, label), key=key) if version or label or request.query_string or key else ANY
    )
    result, served, used, timing = planes.data.infer(model, request.payload(), choice, options)
    request.note(version=served, **({"label": used} if used else {}), rows=timing.rows)
    if isinstance(result, Media):
        response = Response(result.content, content_type=result.mimetype)
        response.headers.append(("X-Model-Version", str(served)))
        if used:
            response.headers.append(("X-Model-Label", quote(used)))
    else:
        by: dict[str, Any] = {"name": model, "version": served, **({"label": used} if used else {})}
        response = answer({"status": 0, **result, "model": by})
    limit = planes.tensor_limits.answer_bytes
    if len(response.body) > limit:
        raise answer_too_large(limit, "ask for encoding=png, or send less")
    response.headers.append(("Server-Timing", _server_timing(timing)))
    return response


def _server_timing(timing: Timing) -> str:
    """The header `Server-Timing`, which browsers' developer tools show: milliseconds (W3C Server Timing)."""
    return (
        f"preprocess;dur={timing.preprocess * 1000:.2f}, queue;dur={timing.queue * 1000:.2f}, "
        f'predict;dur={timing.predict * 1000:.2f};desc="batch of {timing.rows}", '
        f"postprocess;dur={timing.postprocess * 1000:.2f}"
    )


def _asked(request: Request, version: str, label: str) -> tuple[int | None, str]:
    """The version or label in the path or the query."""
    asked = [(name, value) for name, value in (("version", version), ("label", label)) if value]
    if request.query_string:
        asked += [(name, request.args[name]) for name in ("version", "label") if name in request.args]
    if len(asked) > 1:
        raise InvalidField(asked[1][0], "a version or label is asked for already; keep one")
    for name, value in asked:
        if name == "label":
            if not value:
                raise InvalidField("label", "empty")
            return None, value
        number = version_number(value)
        if number is None:
            raise InvalidField("version", f"not a whole number from 0 to {INT64_MAX}")
        return number, ""
    return None, ""
