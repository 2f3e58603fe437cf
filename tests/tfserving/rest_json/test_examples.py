"""Classify and Regress requests become `tf.Example`s."""

# ruff: noqa: E501 - the texts stand as they are sent

import pytest
from google.protobuf import text_format

from wsgiapp.errors import InvalidArgument
from wsgiapp.tfserving.messages import Input
from wsgiapp.tfserving.rest_json.document import parse
from wsgiapp.tfserving.rest_json.examples import read_examples


def test_examples() -> None:
    got = read_examples(
        parse(
            """{"examples": [
                {"names": ["foo", "中", {"b64": "/w=="}], "ratings": [8.0, 9.5, NaN, -Infinity], "age": 20, "none": []},
                {"names": "bar", "ratings": 6.0, "mixed": [1, true, false], "yes": true, "raw": {"b64": "aGk="}}
            ]}""".encode()
        )
    )
    wanted = text_format.Parse(
        """example_list {
            examples { features {
                feature { key: "names" value { bytes_list { value: "foo" value: "\\344\\270\\255" value: "\\377" } } }
                feature { key: "ratings" value { float_list { value: 8 value: 9.5 value: nan value: -inf } } }
                feature { key: "age" value { int64_list { value: 20 } } }
                feature { key: "none" value { } }
            } }
            examples { features {
                feature { key: "names" value { bytes_list { value: "bar" } } }
                feature { key: "ratings" value { float_list { value: 6 } } }
                feature { key: "mixed" value { int64_list { value: 1 value: 1 value: 0 } } }
                feature { key: "yes" value { int64_list { value: 1 } } }
                feature { key: "raw" value { bytes_list { value: "hi" } } }
            } }
        }""",
        Input(),
    )
    assert got.SerializeToString(deterministic=True) == wanted.SerializeToString(deterministic=True)


def test_a_context() -> None:
    got = read_examples({"context": {"query": "pizza"}, "examples": [{"age": 3}]})
    assert got.WhichOneof("kind") == "example_list_with_context"
    listed = got.example_list_with_context
    assert listed.context.features.feature["query"].bytes_list.value == [b"pizza"]
    assert listed.examples[0].features.feature["age"].int64_list.value == [3]


def test_the_limits_of_the_types() -> None:
    exact = [-(2**63), 2**63 - 1]
    assert feature(exact).int64_list.value == exact
    assert feature([3.4028234e38]).float_list.value == pytest.approx([3.4028234e38])


def feature(values: list[object]) -> object:
    return read_examples({"examples": [{"names": values}]}).example_list.examples[0].features.feature["names"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": {"a": 1}}', "} Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "} 'examples' value is an empty array"),
        ('{"examples": [[{"a": 1}]]}', "Example must be JSON object but got JSON Array"),
        ('{"context": [1], "examples": [{"a": 1}]}', "Example must be JSON object but got JSON Array"),
        ('{"examples": [{"names": [10, null]}]}', "Feature: names has element with unexpected JSON type: Null"),
        ('{"examples": [{"names": null}]}', "Feature: names has element with unexpected JSON type: Null"),
        ('{"examples": [{"names": [[10], 20]}]}', "Feature: names has element with unexpected JSON type: Array"),
        ('{"examples": [{"names": [10, {"test": 10}]}]}', "Feature: names has element with unexpected JSON type: Object"),
        ('{"examples": [{"names": {"test": 10}}]}', "Feature: names has element with unexpected JSON type: Object"),
        ('{"examples": [{"names": [10, 10.0]}]}', "Unexpected element type in feature: names expecting type: int64"),
        ('{"examples": [{"names": [10.0, 10]}]}', "Unexpected element type in feature: names expecting type: float"),
        ('{"examples": [{"names": ["a", 1]}]}', "Unexpected element type in feature: names expecting type: bytes"),
        ('{"examples": [{"names": [20, 18446744073709551603]}]}', "Feature: names has uint64 element. Only int64 is supported."),
        ('{"examples": [{"names": [NaN, -1e300]}]}', "Cannot convert JSON value: -1e+300 to float without loss of precision."),
        ('{"examples": [{"names": {"b64": "?"}}]}', "Feature: names: Unable to base64 decode"),
    ],
)  # fmt: skip
def test_errors(text: str, error: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_examples(parse(text.encode()))
    assert str(caught.value) == error or (error.startswith("}") and str(caught.value).endswith(error))
