"""A servable without TensorFlow: its signatures, and a function for each tensor that can be fetched."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from wsgiapp.tfserving.messages import SignatureDef, types_pb2
from wsgiapp.tfserving.tensors import Arrays


def signature(method: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> SignatureDef:
    """Aliases with `tensor name` or `tensor name type`: `{"x": "x:0 DT_FLOAT"}`; strings where no type is given."""
    made = SignatureDef(method_name=f"tensorflow/serving/{method}")
    for ends, entries in ((inputs, made.inputs), (outputs, made.outputs)):
        for alias, text in ends.items():
            name, _, dtype = text.partition(" ")
            entries[alias].name = name
            entries[alias].dtype = types_pb2.DataType.Value(dtype or "DT_STRING")
    return made


class FakeServable:
    """Answers from functions of all feeds, and keeps what it was asked in `runs`."""

    def __init__(self, tensors: Mapping[str, Callable[[Arrays], np.ndarray]], **signatures: SignatureDef) -> None:
        self.signatures: Mapping[str, SignatureDef] = signatures
        self.runs: list[tuple[Arrays, list[str]]] = []
        self.closed = False
        self._tensors = tensors

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        assert not self.closed
        self.runs.append((feeds, list(fetches)))
        return [self._tensors[name](feeds) for name in fetches]

    def close(self) -> None:
        self.closed = True
