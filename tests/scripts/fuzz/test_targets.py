"""Every parser with random input: what it expects, it says; and nothing else happens."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets.catalog import TARGETS
from fuzz.targets.target import Target, WrongResult

# The same examples each time, and as many as take a second together; `make fuzz` looks for new ones.
QUICK = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@EACH
def test_what_is_right(target: Target) -> None:
    for seed in target.seeds:
        target.run(seed)


@EACH
@QUICK
@given(data=st.data())
def test_what_is_damaged(target: Target, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(target.seeds))
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(len(seed), start + 8)))
    target.run(seed[:start] + data.draw(st.binary(max_size=8)) + seed[end:])


@EACH
@QUICK
@given(sent=st.binary(max_size=64))
def test_what_is_nothing(target: Target, sent: bytes) -> None:
    target.run(sent)


@pytest.mark.parametrize(
    ("name", "module", "parser", "wrong"),
    [
        ("list_literal", "text", "parse_list", lambda text: ["other"]),
        ("base64", "text", "decode_base64", lambda field, text: b"other"),
        ("tensor", "wire", "encode_tensor", lambda array: TARGETS["tensor"]),
        ("image_file", "pictures", "decode_image", lambda field, data, limits: {}["missing"]),
    ],
)
def test_what_a_broken_parser_gives_is_found(
    name: str, module: str, parser: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"fuzz.targets.{module}.{parser}", wrong)
    with pytest.raises((WrongResult, KeyError, AttributeError)):
        test_what_is_right(TARGETS[name])
