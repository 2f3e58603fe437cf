"""Examples become the strings that a model parses."""

import pytest

from support.serving_client import example, examples
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.inference.examples import serialized_examples
from wsgiapp.tfserving.messages import Example, Input


def test_examples_are_serialized_one_by_one() -> None:
    strings = serialized_examples(examples(example(x=1.0), example(x=b"y")))
    assert strings.shape == (2,)
    assert [Example.FromString(each) for each in strings] == [example(x=1.0), example(x=b"y")]


def test_an_example_s_own_features_override_the_context_s() -> None:
    context = example(x=1.0, z=3.0)
    strings = serialized_examples(examples(example(), example(x=2.0), context=context))
    assert [Example.FromString(each) for each in strings] == [context, example(x=2.0, z=3.0)]


@pytest.mark.parametrize("nothing", [Input(), examples(), examples(context=example(x=1.0))])
def test_nothing_is_rejected(nothing: Input) -> None:
    with pytest.raises(ServingError, match=r"^Input is empty\.$"):
        serialized_examples(nothing)
