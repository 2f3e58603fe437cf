"""`tf.Example` inputs of Classify, Regress and MultiInference (TF Serving's `util.cc`)."""

from collections.abc import Sequence

import numpy as np

from wsgiapp.modelserver.errors import invalid_argument
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import Input, TensorInfo, types_pb2
from wsgiapp.tfserving.tensors import Arrays, dtype_name


def serialized_examples(examples: Input) -> np.ndarray:
    """The examples as serialised strings, an object array of shape [examples].

    A context goes before each example: messages that follow each other in one string are merged when it is parsed,
    and the later one wins, so that an example's own features override the context's.

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
        raise invalid_argument(texts.INPUT_IS_EMPTY)
    strings = np.empty(len(listed), dtype=object)
    strings[:] = [context + example.SerializeToString() for example in listed]
    return strings


def run_on_examples(
    servable: Servable, inputs: Sequence[TensorInfo], examples: Input, fetches: Sequence[str]
) -> tuple[Arrays, int]:
    """The fetched tensors by name, and the number of examples; each of the `inputs` gets all examples.

    Raises `ServingError`. An input of another type than DT_STRING gets TensorFlow's own answer to a feed of strings.
    """
    strings = serialized_examples(examples)
    types = {info.name: info.dtype for info in inputs}
    for index, name in enumerate(sorted(types)):  # TensorFlow's session counts its feeds in this order
        if types[name] != types_pb2.DT_STRING:
            problem = texts.WRONG_ARGUMENT_TYPE.format(index=index, expected=dtype_name(types[name]), found="string")
            raise invalid_argument(f"{problem} (the input {name} takes no serialized tf.Example; call Predict instead)")
    values = servable.run(dict.fromkeys(types, strings), fetches)
    return dict(zip(fetches, values, strict=True)), len(strings)
