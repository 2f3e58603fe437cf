"""A loaded version as the rest of the model server uses it, however it was loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wsgiapp.tfserving.messages import ModelSpec, SignatureDef
from wsgiapp.tfserving.saved_model import DEFAULT_SIGNATURE
from wsgiapp.tfserving.tensors import Arrays


class Servable(Protocol):
    """A loaded version: its signatures, and a graph that is run by the names of its tensors."""

    signatures: Mapping[str, SignatureDef]

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        """The values of the tensors `fetches`, in that order. Strings are bytes in object arrays.

        Safe to be called from several threads. Raises `ServingError`.
        """
        ...

    def close(self) -> None:
        """Free all memory and threads; `run` may not be called any more."""
        ...


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """How requests are read and answered.

    `tensor_content` answers numbers in `tensor_content` instead of the typed fields. `check_method_names` rejects a
    signature that was not exported for the call; off by default, as in TF Serving, because TensorFlow 2 exports every
    signature for Predict.
    """

    tensor_content: bool = False
    check_method_names: bool = False


def signature_key(spec: ModelSpec) -> str:
    """The key of the signature that a request asks for."""
    return spec.signature_name or DEFAULT_SIGNATURE


def answered_spec(spec: ModelSpec) -> ModelSpec:
    """The `model_spec` of a response, without its version, which only the lease knows."""
    return ModelSpec(name=spec.name, signature_name=signature_key(spec))
