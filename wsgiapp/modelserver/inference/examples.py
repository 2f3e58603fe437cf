"""`tf.Example` inputs of Classify, Regress and MultiInference (TF Serving's `util.cc`)."""

from collections.abc import Mapping, Sequence

import numpy as np

from wsgiapp.modelserver.errors import invalid_argument
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.modelserver.servables.tensors import dtype_name
from wsgiapp.tfserving.messages import Input, TensorInfo, types_pb2


def serialized_examples(examples: Input) -> np.ndarray:
    """The examples as serialised strings, an object array of shape [examples].

    A context goes before each example: messages that follow each other in one string are merged by whoever parses it,
    and the later one wins, so that an example's own features stand above the context's.

    Raises `ServingError` (INVALID_ARGUMENT) where there is no example.
    """
    context = b""
    kind = examples.WhichOneof("kind")
    if kind == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
        listed = examples.example_list_with_context.examples
    else:
        listed = examples.example_list.examples
    if not listed:
        raise invalid_argument("Input is empty.")
    strings = np.empty(len(listed), dtype=object)
    strings[:] = [context + example.SerializeToString() for example in listed]
    return strings


def run_on_examples(
    servable: Servable, feed: TensorInfo, examples: Input, fetches: Sequence[str]
) -> tuple[Mapping[str, np.ndarray], int]:
    """The fetched tensors by name, and the number of examples. Raises `ServingError`.

    An input of another type than DT_STRING gets TensorFlow's own answer to a feed of strings.
    """
    strings = serialized_examples(examples)
    if feed.dtype != types_pb2.DT_STRING:
        raise invalid_argument(
            f"Expects arg[0] to be {dtype_name(feed.dtype)} but string is provided (the input {feed.name} takes no "
            f"serialized tf.Example; call Predict instead)"
        )
    return dict(zip(fetches, servable.run({feed.name: strings}, fetches), strict=True)), len(strings)
