"""Predictions: `/predict` and `/<model>/predict`, of a version or label, too."""

from typing import Any

from werkzeug.wrappers import Response

from wsgiapp.dataplane import Choice
from wsgiapp.errors import InvalidField
from wsgiapp.http import Request, answer
from wsgiapp.pipelines import Media
from wsgiapp.views import Planes

INT64_MAX = 2**63 - 1


def predict(request: Request, planes: Planes, model: str, version: str = "", label: str = "") -> Response:
    """Answer one payload with JSON whose `status` is 0, or with a bare picture; both say which version answered."""
    request.note(model=model)
    header = planes.data.split_key(model)
    key = request.headers.get(header, "") if header else ""
    choice = Choice(*_asked(request, version, label), key=key or request.client)
    result, served, used = planes.data.infer(model, request.payload(), choice)
    request.note(version=served, **({"label": used} if used else {}))
    if isinstance(result, Media):
        headers = {"X-Model-Version": str(served), **({"X-Model-Label": used} if used else {})}
        return Response(result.content, headers=headers, mimetype=result.mimetype)
    by: dict[str, Any] = {"name": model, "version": served, **({"label": used} if used else {})}
    return answer({"status": 0, **result, "model": by})


def _asked(request: Request, version: str, label: str) -> tuple[int | None, str]:
    """The version or label in the path or the query."""
    asked = [(name, value) for name, value in (("version", version), ("label", label)) if value]
    asked += [(name, request.args[name]) for name in ("version", "label") if name in request.args]
    if len(asked) > 1:
        raise InvalidField(asked[1][0], "a version or label is asked for already; keep one")
    for name, value in asked:
        if name == "label":
            if not value:
                raise InvalidField("label", "empty")
            return None, value
        if not (value.isascii() and value.isdecimal()) or int(value) > INT64_MAX:
            raise InvalidField("version", f"not a whole number from 0 to {INT64_MAX}")
        return int(value), ""
    return None, ""
