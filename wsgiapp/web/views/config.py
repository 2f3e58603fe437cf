"""Management of the models: `/v1/config`, for who has a token."""

from typing import Any

from google.protobuf import json_format, text_format

from wsgiapp.errors import InvalidField
from wsgiapp.management.config_check import Finding
from wsgiapp.observability.audit_log import Actor
from wsgiapp.tfserving.messages import INT64_MAX, ModelServerConfig
from wsgiapp.web.planes import Planes
from wsgiapp.web.request import Request
from wsgiapp.web.response import Response, answer


def show(request: Request, planes: Planes) -> Response:
    """The active configuration, as JSON."""
    _authorize(request, planes, "read")
    return answer(json_format.MessageToDict(planes.control.config(), preserving_proto_field_name=True))


def replace(request: Request, planes: Planes) -> Response:
    """Apply the body: a `ModelServerConfig` in JSON or, as another type, in text format."""
    actor = _authorize(request, planes, "replace")
    return _applied(planes.control.replace(_sent_config(request), force=_is_forced(request), actor=actor))


def reload(request: Request, planes: Planes) -> Response:
    """Apply the file `models.config`."""
    actor = _authorize(request, planes, "replace")
    return _applied(planes.control.reload(force=_is_forced(request), actor=actor))


def promote(request: Request, planes: Planes) -> Response:
    """Move a label to a version: `{"model": ..., "version": ..., "label": ...}`."""
    actor = _authorize(request, planes, "promote")
    fields = request.json_object()
    model, label = _text(fields, "model"), _text(fields, "label")
    version = fields.get("version")
    if type(version) is not int or not 0 <= version <= INT64_MAX:
        raise InvalidField("version", "missing or not a version's number")
    before = planes.control.promote(model, version, label, actor=actor)
    request.note(model=model, version=version, label=label)
    return answer({"model": model, "label": label, "version": version, "previous_version": before})


def _authorize(request: Request, planes: Planes, scope: str) -> Actor:
    """Who asks, within a token's scope."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    name = planes.tokens.authorize(text.strip() if scheme.lower() == "bearer" else "", scope, request.client)
    request.note(token=name)
    return Actor(name, request.client, request.id)


def _sent_config(request: Request) -> str:
    """The body as text format."""
    if request.mimetype != "application/json":
        return request.get_data().decode("utf-8-sig", "replace")
    try:
        config = json_format.ParseDict(request.json_object(), ModelServerConfig())
    except json_format.ParseError as exc:
        raise InvalidField("body", f"not a ModelServerConfig in JSON ({exc})") from exc
    return text_format.MessageToString(config, as_utf8=True)


def _applied(findings: list[Finding]) -> Response:
    return answer({"applied": True, "warnings": [finding.text for finding in findings]})


def _is_forced(request: Request) -> bool:
    return request.args.get("force", "").lower() in ("1", "true")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidField(name, "missing or not a text")
    return value
