"""Predict: the tensors of a signature by their aliases (TF Serving's `predict_util.cc`)."""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable, answered_spec, signature_key
from wsgiapp.modelserver.servables.signatures import METHOD_NAMES
from wsgiapp.modelserver.servables.tensors import decode_input, dtype_name, encode_output
from wsgiapp.tfserving.messages import PredictRequest, PredictResponse, SignatureDef, TensorInfo, TensorProto


def predict(servable: Servable, request: PredictRequest, options: InferenceOptions) -> PredictResponse:
    """The outputs that the request asks for; the caller adds the version. Raises `ServingError`."""
    signature = _signature(servable, signature_key(request.model_spec), options)
    feeds = _feeds(signature, request.inputs)
    aliases = _output_aliases(signature, request.output_filter)
    values = servable.run(feeds, [signature.outputs[alias].name for alias in aliases])
    response = PredictResponse(model_spec=answered_spec(request.model_spec))
    for alias, value in zip(aliases, values, strict=True):
        tensor = encode_output(value, signature.outputs[alias].dtype, alias, tensor_content=options.tensor_content)
        response.outputs[alias].CopyFrom(tensor)
    return response


def _signature(servable: Servable, key: str, options: InferenceOptions) -> SignatureDef:
    signature = servable.signatures.get(key)
    if signature is None:
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    if options.check_method_names and signature.method_name not in METHOD_NAMES:
        raise ServingError(
            grpc.StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(METHOD_NAMES)}}}. "
            f"Was: {signature.method_name}",
        )
    return signature


def _feeds(signature: SignatureDef, sent: Mapping[str, TensorProto]) -> dict[str, np.ndarray]:
    """The arrays by the names of their tensors; an input that was not sent has its default."""
    names, wanted = set(sent), set(signature.inputs)
    if len(names) > len(wanted) or (len(names) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(names)}!={len(wanted)} len({_set(names)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(names - wanted)}. Missing but required: {_set(wanted - names)}."
        )
    if missing := sorted(wanted - names - set(signature.defaults)):
        raise invalid_argument(
            f"Signature input alias: {missing[0]}(feed name: {signature.inputs[missing[0]].name}) not found in request "
            f"and no default value provided. Inputs expected to be in the request {_set(names)}, or default input "
            f"alias set: {','.join(sorted(signature.defaults))}"
        )
    if names - wanted:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(names & wanted))}, "
            f"request input: {','.join(sorted(names))}"
        )
    feeds = {}
    for alias, info in signature.inputs.items():
        tensor = sent[alias] if alias in names else signature.defaults[alias]
        array = decode_input(tensor, alias)
        if tensor.dtype != info.dtype:
            raise invalid_argument(
                f"Expects arg[{_position(signature, info)}] to be {dtype_name(info.dtype)} but "
                f"{dtype_name(tensor.dtype)} is provided (input {alias})"
            )
        feeds[info.name] = array
    return feeds


def _position(signature: SignatureDef, info: TensorInfo) -> int:
    """Where TensorFlow's session counts a feed: they are in the order of the tensors' names."""
    return sorted(other.name for other in signature.inputs.values()).index(info.name)


def _output_aliases(signature: SignatureDef, output_filter: Sequence[str]) -> list[str]:
    """What to answer, in the order of the request; everything where it does not say."""
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set(set(signature.outputs))}."
            )
        if alias in output_filter[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or sorted(signature.outputs)


def _set(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
