"""What comes in TF Serving's formats: tensors, JSON of its REST API, configuration files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from fuzz.targets.target import Target, WrongResult
from wsgiapp.errors import RequestError, WsgiappError
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import TensorProto, types_pb2
from wsgiapp.tfserving.rest_json.document import parse
from wsgiapp.tfserving.rest_json.examples import read_examples
from wsgiapp.tfserving.rest_json.inputs import read_inputs
from wsgiapp.tfserving.rest_json.pieces import no_pause
from wsgiapp.tfserving.rest_json.piecewise import parse_in_pieces
from wsgiapp.tfserving.tensors import decode_tensor, encode_tensor

INPUTS = {
    "x": types_pb2.DT_FLOAT,
    "n": types_pb2.DT_INT64,
    "u": types_pb2.DT_UINT8,
    "words": types_pb2.DT_STRING,
    "flag": types_pb2.DT_BOOL,
}


def _tensor(data: bytes) -> None:
    try:
        array = decode_tensor(TensorProto.FromString(data))
    except (DecodeError, RequestError):
        return
    again = decode_tensor(encode_tensor(array))
    if not _are_same(array, again):
        raise WrongResult(f"{data!r}: {array!r} became {again!r}")


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """In every bit: NaN too."""
    if one.dtype.hasobject:
        return one.tolist() == other.tolist()
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _rest_json(data: bytes) -> None:
    try:
        document = parse(data)
    except RequestError:
        return
    for read in (lambda: read_inputs(document, INPUTS), lambda: read_examples(document)):
        try:
            read()
        except RequestError:
            continue


def _json_in_pieces(data: bytes) -> None:
    whole, in_pieces = (
        _outcome(lambda: orjson.loads(data)),
        _outcome(lambda: parse_in_pieces(data, orjson.loads, no_pause)),
    )
    if in_pieces is not TOO_MUCH and repr(whole) != repr(in_pieces):
        raise WrongResult(f"{data!r}: {whole!r} as a whole, {in_pieces!r} in pieces")


FAILED, TOO_MUCH = "not JSON", "more than is taken in pieces"


def _outcome(read: Any) -> Any:
    try:
        return read()
    except json.JSONDecodeError:
        return FAILED
    except RequestError:
        return TOO_MUCH


def _model_config(data: bytes) -> None:
    try:
        model_config.models_of(model_config.parse(data.decode(errors="replace"), where="x"), where="x")
    except WsgiappError:
        return


CONFIG = b"""model_config_list { config { name: "lstm" base_path: "/models/lstm" model_platform: "tensorflow"
  model_version_policy { specific { versions: 1 } } version_labels { key: "stable" value: 1 } } }"""
ARRAYS = (
    np.array([[1.5, -2.0]], np.float32),
    np.array([b"word", b""], object),
    np.array([True, False]),
    np.zeros((0, 3), np.int64),
    np.array([1.0], np.float16),
)
TARGETS = (
    Target(
        "tensor",
        _tensor,
        tuple(
            encode_tensor(array, as_content=way).SerializeToString()
            for array in ARRAYS
            for way in (True, False)
            if way is False or array.dtype != object
        ),
    ),
    Target(
        "rest_json",
        _rest_json,
        (
            b'{"instances": [{"x": [1, 2.5], "n": 1, "u": 255, "words": {"b64": "YQ=="}, "flag": true}]}',
            b'{"inputs": {"x": [[1], [NaN]], "n": [9223372036854775807]}, "signature_name": "f"}',
            b'{"examples": [{"x": [1.0], "words": ["a", {"b64": "YQ"}]}], "context": {"n": 1}}',
            b'\xef\xbb\xbf{"instances": [[[]], [[1]], 1e400, -0, "\\ud800"]}',
        ),
    ),
    Target("json_in_pieces", _json_in_pieces, (b'{"a": [1, {"b": "x,]}"}, []], "a": null}', b'[["\\"", 1], [2,, 3]]')),
    Target(
        "model_config",
        _model_config,
        (CONFIG, CONFIG.replace(b"specific { versions: 1 }", b"latest { num_versions: 2 }")),
    ),
)
