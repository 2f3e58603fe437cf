"""Signatures are remembered, and never the wrong one is used: a model server whose versions change under requests."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from wsgiapp.backend.interface import Target
from wsgiapp.errors import InvalidArgument, NotFound, Unavailable
from wsgiapp.inference.passthrough import ATTEMPTS, InputTypes, Passthrough
from wsgiapp.tfserving.messages import SignatureDefMap, types_pb2

FLOAT, INT32 = types_pb2.DT_FLOAT, types_pb2.DT_INT32
TYPES = {FLOAT: np.float32, INT32: np.int32}
MODEL = Target("m", "")


class Versions:
    """A model server with one model: its versions' inputs, the newest one answering. It checks as TF Serving does."""

    def __init__(self, **inputs: InputTypes) -> None:
        self.versions = {int(name[1:]): each for name, each in inputs.items()}
        self.label = max(self.versions)
        self.calls: list[str] = []
        #: Called before each call: the moment when an operator reloads.
        self.meanwhile: Callable[[str], None] = lambda call: None

    def _version(self, call: str, target: Target) -> int:
        self.meanwhile(call)
        self.calls.append(call)
        version = self.label if target.label else target.version or max(self.versions)
        if version not in self.versions:
            raise NotFound(f"Servable not found for request: Specific(m, {version})")
        return version

    def metadata(self, target: Target, deadline: float) -> tuple[SignatureDefMap, int]:
        version = self._version("metadata", target)
        signatures = SignatureDefMap()
        for name, dtype in self.versions[version].items():
            signatures.signature_def["serving_default"].inputs[name].dtype = dtype
        signatures.signature_def["none"].method_name = "nothing"
        return signatures, version

    def predict(
        self, target: Target, inputs: Mapping[str, np.ndarray], deadline: float
    ) -> tuple[dict[str, np.ndarray], int]:
        version = self._version("predict", target)
        # As with a signature's `defaults`, an input that is left out is no error.
        for name, array in inputs.items():
            if array.dtype != TYPES.get(self.versions[version].get(name, 0)):
                raise InvalidArgument(f"version {version} has no such input {name} of {array.dtype}")
        return {"got": np.array([f"{version} {name}" for name in sorted(inputs)], object)}, version


def encode(inputs: InputTypes) -> dict[str, np.ndarray]:
    """What a client that knows of a and b sends: it has nothing else to offer."""
    if not inputs.keys() & {"a", "b"}:
        raise InvalidArgument("nothing for these inputs")
    return {name: np.zeros(1, TYPES[dtype]) for name, dtype in inputs.items() if name in ("a", "b")}


def ask(server: Versions, passthrough: Passthrough, target: Target = MODEL) -> tuple[list[str], list[str]]:
    """The answer, and the calls that it took."""
    server.calls.clear()
    outputs, version = passthrough.predict(target, encode, 0.0)
    assert all(each.startswith(f"{version} ") for each in outputs["got"])
    return outputs["got"].tolist(), server.calls


def test_one_call_in_the_steady_state() -> None:
    server = Versions(v1={"a": FLOAT}, v2={"a": FLOAT})
    server.label = 1
    passthrough = Passthrough(server)
    for target, answer in (
        (MODEL, "2 a"),
        (replace(MODEL, version=1), "1 a"),
        (replace(MODEL, label="stable"), "1 a"),
    ):
        ask(server, passthrough, target)
        assert ask(server, passthrough, target) == ([answer], ["predict"])
    assert ask(server, passthrough, replace(MODEL, version=2)) == (["2 a"], ["predict"])


def test_a_new_version_with_the_same_inputs_costs_one_more_call_once() -> None:
    server = Versions(v1={"a": FLOAT})
    passthrough = Passthrough(server)
    ask(server, passthrough)
    server.versions = {2: {"a": FLOAT}}
    assert ask(server, passthrough) == (["2 a"], ["predict", "metadata"])
    assert ask(server, passthrough) == (["2 a"], ["predict"])


@pytest.mark.parametrize("target", [MODEL, replace(MODEL, label="stable")], ids=["newest", "label"])
@pytest.mark.parametrize("keeps_the_old_one", [True, False])
@pytest.mark.parametrize(
    ("new", "answer"),
    [({"a": INT32}, ["2 a"]), ({"b": FLOAT}, ["2 b"]), ({"a": FLOAT, "b": FLOAT}, ["2 a", "2 b"])],
    ids=["another type", "another name", "one more"],
)
def test_a_new_version_with_other_inputs_is_asked_by_its_own(
    new: InputTypes, answer: list[str], keeps_the_old_one: bool, target: Target
) -> None:
    server = Versions(v1={"a": FLOAT})
    passthrough = Passthrough(server)
    ask(server, passthrough, target)
    server.versions = {**(server.versions if keeps_the_old_one else {}), 2: new}
    server.label = 2
    assert ask(server, passthrough, target)[0] == answer
    assert ask(server, passthrough, target) == (answer, ["predict"])


def test_a_label_that_moves_back() -> None:
    server = Versions(v1={"a": FLOAT}, v2={"b": FLOAT})
    passthrough = Passthrough(server)
    stable = replace(MODEL, label="stable")
    for version, answer in ((2, "2 b"), (1, "1 a"), (2, "2 b"), (1, "1 a")):
        server.label = version
        assert ask(server, passthrough, stable)[0] == [answer]


def test_a_reload_between_the_signature_and_the_prediction() -> None:
    server = Versions(v1={"a": FLOAT})

    def reload(call: str) -> None:
        if call == "predict":
            server.versions = {2: {"a": FLOAT, "b": FLOAT}}

    server.meanwhile = reload
    assert ask(server, Passthrough(server))[0] == ["2 a", "2 b"]


def test_a_version_that_has_gone_when_its_signature_is_looked_up() -> None:
    server = Versions(v1={"a": FLOAT})
    passthrough = Passthrough(server)
    ask(server, passthrough)
    server.versions = {2: {"a": FLOAT}}

    def reload(call: str) -> None:
        if call == "metadata":
            server.versions = {3: {"a": FLOAT, "b": FLOAT}}

    server.meanwhile = reload
    assert ask(server, passthrough)[0] == ["3 a", "3 b"]


def test_the_same_number_with_other_content() -> None:
    server = Versions(v1={"a": FLOAT})
    passthrough = Passthrough(server)
    exact = replace(MODEL, version=1)
    ask(server, passthrough, exact)
    server.versions = {1: {"b": INT32}}
    assert ask(server, passthrough, exact)[0] == ["1 b"]


def test_a_client_s_mistake_is_judged_by_the_present_version() -> None:
    server = Versions(v1={"z": FLOAT})
    passthrough = Passthrough(server)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="nothing for these inputs"):
            ask(server, passthrough)
    server.versions[2] = {"a": FLOAT}
    assert ask(server, passthrough)[0] == ["2 a"]


def test_signatures_that_cannot_be_called() -> None:
    passthrough = Passthrough(Versions(v1={"a": FLOAT}))
    with pytest.raises(InvalidArgument, match=r'^Serving signature name: "x" not found in signature def$'):
        passthrough.predict(Target("m", "x"), encode, 0.0)
    with pytest.raises(InvalidArgument, match=r"^Failed to get input map for signature: none$"):
        passthrough.predict(Target("m", "none"), encode, 0.0)


def test_a_version_that_is_gone_is_not_found() -> None:
    server = Versions(v1={"a": FLOAT})
    passthrough = Passthrough(server)
    exact = replace(MODEL, version=1)
    ask(server, passthrough, exact)
    server.versions = {2: {"a": FLOAT}}
    with pytest.raises(NotFound, match=r"Specific\(m, 1\)"):
        ask(server, passthrough, exact)


def test_versions_that_never_settle() -> None:
    server = Versions(v1={"a": FLOAT})

    def reload(call: str) -> None:
        newest = max(server.versions) + 1
        server.versions = {newest: {"a": FLOAT if newest % 2 else INT32}}

    server.meanwhile = reload
    with pytest.raises(Unavailable, match="change faster"):
        ask(server, Passthrough(server))
    assert server.calls.count("predict") == ATTEMPTS
