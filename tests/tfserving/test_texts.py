"""TF Serving's texts stand in one table, and each of them is used."""

import string
from pathlib import Path

import pytest

import wsgiapp
from wsgiapp.tfserving import texts

PACKAGE = Path(wsgiapp.__file__).parent
SOURCES = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
TABLE = Path(texts.__file__)
TEXTS = {name: text for name, text in vars(texts).items() if name.isupper()}


def main_part(text: str) -> str:
    """The longest part of a text between its fields."""
    return max((part for part, *_ in string.Formatter().parse(text)), key=len).strip()


@pytest.mark.parametrize("name", TEXTS)
def test_each_text_is_used_and_stands_nowhere_else(name: str) -> None:
    users = [path for path, source in SOURCES.items() if f"texts.{name}" in source]
    assert users
    part = main_part(TEXTS[name])
    if len(part) > len("Servable not found"):  # a shorter one may stand in any sentence
        assert [path for path, source in SOURCES.items() if part in source and path != TABLE] == []


def test_fields_are_named() -> None:
    for name, text in TEXTS.items():
        fields = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
        assert all(field.isidentifier() for field in fields), name


def test_literal_braces_come_out_single() -> None:
    assert texts.NOT_FOR_PREDICTION.format(expected="a", found="b").endswith("to be one of {a}. Was: b")
    version = texts.VERSION_NOT_AVAILABLE.format(name="m", version=1, error="e")
    assert texts.MODELS_NOT_AVAILABLE.format(count=1, models=version) == (
        "1 model(s) did not become available: {{{name: m version: 1} due to error: e}, }"
    )
