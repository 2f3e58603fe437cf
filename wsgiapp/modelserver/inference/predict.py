"""Predict: the tensors of a signature by their aliases (TF Serving's `predict_util.cc`)."""

from collections.abc import Iterable, Mapping, Sequence

import grpc
import numpy as np

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable, answered_spec, signature_key
from wsgiapp.modelserver.servables.signatures import METHOD_NAMES
from wsgiapp.modelserver.servables.tensors import decode_input, fill_output
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import PredictRequest, PredictResponse, SignatureDef, TensorInfo, TensorProto
from wsgiapp.tfserving.tensors import dtype_name


def predict(servable: Servable, request: PredictRequest, options: InferenceOptions) -> PredictResponse:
    """The outputs that the request asks for; the caller adds the version. Raises `ServingError`."""
    signature = _signature(servable, signature_key(request.model_spec), options)
    feeds = _feeds(signature, request.inputs)
    aliases = _output_aliases(signature, request.output_filter)
    values = servable.run(feeds, [signature.outputs[alias].name for alias in aliases])
    response = PredictResponse(model_spec=answered_spec(request.model_spec))
    for alias, value in zip(aliases, values, strict=True):
        dtype = signature.outputs[alias].dtype
        fill_output(response.outputs[alias], value, dtype, alias, tensor_content=options.tensor_content)
    return response


def _signature(servable: Servable, key: str, options: InferenceOptions) -> SignatureDef:
    signature = servable.signatures.get(key)
    if signature is None:
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, texts.SIGNATURE_KEY_NOT_FOUND.format(name=key))
    if options.check_method_names and signature.method_name not in METHOD_NAMES:
        problem = texts.NOT_FOR_PREDICTION.format(expected=", ".join(METHOD_NAMES), found=signature.method_name)
        raise ServingError(grpc.StatusCode.INTERNAL, problem)
    return signature


def _feeds(signature: SignatureDef, sent: Mapping[str, TensorProto]) -> dict[str, np.ndarray]:
    """The arrays by the names of their tensors; an input that was not sent has its default."""
    names, wanted = set(sent), set(signature.inputs)
    if len(names) > len(wanted) or (len(names) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            texts.WRONG_INPUT_COUNT.format(
                sent_count=len(names),
                wanted_count=len(wanted),
                sent=_listed(names),
                wanted=_listed(wanted),
                extra=_listed(names - wanted),
                missing=_listed(wanted - names),
            )
        )
    if missing := sorted(wanted - names - set(signature.defaults)):
        raise invalid_argument(
            texts.INPUT_NOT_FOUND.format(
                alias=missing[0],
                feed=signature.inputs[missing[0]].name,
                sent=_listed(names),
                defaults=_listed(signature.defaults),
            )
        )
    if names - wanted:
        raise invalid_argument(texts.INVALID_INPUT_NAME.format(used=_listed(names & wanted), sent=_listed(names)))
    feeds = {}
    for alias, info in signature.inputs.items():
        tensor = sent[alias] if alias in names else signature.defaults[alias]
        array = decode_input(tensor, alias)
        if tensor.dtype != info.dtype:
            types = {"expected": dtype_name(info.dtype), "found": dtype_name(tensor.dtype)}
            problem = texts.WRONG_ARGUMENT_TYPE.format(index=_position(signature, info), **types)
            raise invalid_argument(f"{problem} (input {alias})")
        feeds[info.name] = array
    return feeds


def _position(signature: SignatureDef, info: TensorInfo) -> int:
    """Where TensorFlow's session counts a feed: they are in the order of the tensors' names."""
    return sorted(other.name for other in signature.inputs.values()).index(info.name)


def _output_aliases(signature: SignatureDef, output_filter: Sequence[str]) -> list[str]:
    """What to answer, in the order of the request; everything where it does not say."""
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(texts.OUTPUT_NOT_FOUND.format(alias=alias, outputs=_listed(signature.outputs)))
        if alias in output_filter[:position]:
            raise invalid_argument(texts.DUPLICATE_OUTPUT.format(alias=alias))
    return list(output_filter) or sorted(signature.outputs)


def _listed(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
