"""TF Serving's REST API, under `/v1/`: any model of the model server, its tensors in JSON, bypassing the pipelines."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from wsgiapp.access.key_guard import require
from wsgiapp.backend.interface import Target
from wsgiapp.errors import InvalidArgument
from wsgiapp.inference.call_options import CallOptions
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import Input, ModelSpec, ModelVersionStatus
from wsgiapp.tfserving.rest_json import answers, document
from wsgiapp.tfserving.rest_json.examples import read_examples
from wsgiapp.tfserving.rest_json.inputs import read_inputs
from wsgiapp.tfserving.rest_json.pieces import release
from wsgiapp.tfserving.rest_json.piecewise import MAX_PARSED_AT_ONCE
from wsgiapp.tfserving.version_dirs import version_number
from wsgiapp.web.planes import Planes
from wsgiapp.web.problems import malformed
from wsgiapp.web.request import Request
from wsgiapp.web.response import Response
from wsgiapp.web.turns import give_way

Read = TypeVar("Read")

# The expressions of TF Serving's http_rest_api_util.cc. They see the path as it was sent: in a name that holds a
# slash or a colon these are percent-encoded.
MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
PREDICTION = re.compile(MODEL + ":(?P<method>predict|classify|regress)", re.IGNORECASE)
DESCRIPTION = re.compile(MODEL + "(?P<metadata>/metadata)?", re.IGNORECASE)
LIST = re.compile("/v1/models", re.IGNORECASE)
ORIGIN = re.compile("https?://")  # http_server.cc's


def serve(request: Request, planes: Planes, resource: str) -> Response:
    """Whatever is asked for below `/v1/`; what TF Serving does not know is its "Malformed request"."""
    path = request.raw_path
    if request.method == "OPTIONS":
        return options(request)
    if request.method == "POST" and (match := PREDICTION.fullmatch(path)):
        target = _target(match, request)
        return PREDICTIONS[match["method"].lower()](request, planes, target)
    if request.method in ("GET", "HEAD"):
        if LIST.fullmatch(path):
            return models(request, planes)
        if match := DESCRIPTION.fullmatch(path):
            target = _target(match, request)
            return (metadata if match["metadata"] else status)(request, planes, target)
    raise malformed(request)


def predict(request: Request, planes: Planes, target: Target) -> Response:
    """`instances` -> `predictions`, `inputs` -> `outputs`."""
    limits = planes.tensor_limits
    options = _admitted(request, planes, target)
    with closing(_Sent(request)) as sent:
        outputs, version = planes.data.predict(
            replace(target, signature=sent.signature),
            lambda types: sent.read(lambda document: read_inputs(document, types, give_way, limits)),
            sent.size,
            options,
        )
    request.note(version=version)
    write = answers.predictions if sent.has_rows else answers.columns
    return _answer(write(outputs, give_way, limits))


def classify(request: Request, planes: Planes, target: Target) -> Response:
    """`examples` -> `results`, each a list of labels with their scores."""
    examples, signature, size, options = _examples(request, planes, target)
    result, version = planes.data.classify(replace(target, signature=signature), examples, size, options)
    request.note(version=version)
    return _answer(answers.classifications(result))


def regress(request: Request, planes: Planes, target: Target) -> Response:
    """`examples` -> `results`, each a number."""
    examples, signature, size, options = _examples(request, planes, target)
    result, version = planes.data.regress(replace(target, signature=signature), examples, size, options)
    request.note(version=version)
    return _answer(answers.regressions(result))


def status(request: Request, planes: Planes, target: Target) -> Response:
    """The states of the model's versions."""
    return _pretty({"model_version_status": _statuses(planes.data.status(target, request.call_options()))})


def metadata(request: Request, planes: Planes, target: Target) -> Response:
    """The signatures of one version."""
    signatures, version = planes.data.metadata(target, request.call_options())
    spec = ModelSpec(name=target.model)
    spec.version.value = version
    return _pretty({"model_spec": _as_dict(spec), "metadata": {"signature_def": _as_dict(signatures)}})


def models(request: Request, planes: Planes) -> Response:
    """Every model of the model server, which TF Serving itself does not list."""
    overviews = [
        {
            "name": each.name,
            "model_version_status": _statuses(each.versions),
            "version_labels": {label: str(version) for label, version in each.labels.items()},
        }
        for each in planes.control.models()
        if request.may_use(each.name)
    ]
    return _pretty({"models": overviews})


def options(request: Request) -> Response:
    """Nothing, for a page that asks what it may send. TF Serving answers so always, and its
    --rest_api_enable_cors_support adds the headers."""
    if not ORIGIN.search(request.headers.get("Origin", "")):
        raise InvalidArgument(texts.ORIGIN_MISSING)
    return _answer(b"")


PREDICTIONS: Mapping[str, Callable[[Request, Planes, Target], Response]] = {
    "predict": predict,
    "classify": classify,
    "regress": regress,
}


def _target(match: re.Match[str], request: Request) -> Target:
    version = None
    if digits := match["version"]:
        version = version_number(digits)
        if version is None:
            raise InvalidArgument(texts.VERSION_NOT_NUMERIC.format(version=digits))
    name = _decoded(match["name"], texts.MODEL_NAME_NOT_DECODED)
    label = _decoded(match["label"] or "", texts.LABEL_NOT_DECODED)
    request.note(model=name, **({"label": label} if label else {}))
    if request.key is not None:
        require(request.key, name)
    return Target(name, "", version, label)


def _decoded(text: str, problem: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as exc:
        raise InvalidArgument(problem.format(text=text)) from exc


class _Sent:
    """A request's document. A long one is emptied when it was read, and parsed once more where that is asked for again:
    while the model server works, its text is kept alone."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._body = request.body()
        self.size = len(self._body)
        parsed = self._parsed()
        self._document: dict[str, Any] | None = parsed
        self.has_rows = "instances" in parsed
        try:
            self.signature = document.signature_name(parsed)
        except InvalidArgument:
            self.close()
            raise

    def read(self, reader: Callable[[dict[str, Any]], Read]) -> Read:
        """What `reader` makes of the document."""
        if self._document is None:
            self._document = self._parsed()
        try:
            return reader(self._document)
        finally:
            if len(self._body) > MAX_PARSED_AT_ONCE:
                self.close()

    def close(self) -> None:
        """The document is needed no more."""
        if self._document is not None and len(self._body) > MAX_PARSED_AT_ONCE:
            release(self._document, give_way)
            give_way()  # what was made of it is sent in a turn of its own
        self._document = None
        self._request.memory.close()

    def _parsed(self) -> dict[str, Any]:
        return document.parse(self._body, give_way, self._request.memory.charge)


def _examples(request: Request, planes: Planes, target: Target) -> tuple[Input, str, int, CallOptions]:
    """The examples, the signature that the body names, the body's size, and how the request is to be treated."""
    options = _admitted(request, planes, target)
    with closing(_Sent(request)) as sent:
        examples = sent.read(lambda body: read_examples(body, give_way, planes.tensor_limits))
        return examples, sent.signature, sent.size, options


def _admitted(request: Request, planes: Planes, target: Target) -> CallOptions:
    """How the request is to be treated. Raises `Overloaded`, before its body is read, where it would be rejected."""
    options = request.call_options()
    planes.data.require_room(target.model, options)
    return options


def _answer(body: bytes) -> Response:
    return Response(body)


def _pretty(body: Mapping[str, Any]) -> Response:
    """In the layout of protobuf's own JSON printer, which TF Serving uses here."""
    return _answer(json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n")


def _statuses(versions: list[ModelVersionStatus]) -> list[dict[str, Any]]:
    for version in versions:
        version.status.SetInParent()  # an "OK" that the model server did not send is shown, too
    return [_as_dict(version) for version in versions]


def _as_dict(message: Message) -> dict[str, Any]:
    """A message as JSON has it: all fields, by their names in the .proto file, 64-bit integers as strings."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
