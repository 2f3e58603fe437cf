"""base64 as clients really send it."""

import base64

import pytest

from wsgiapp.errors import InvalidField
from wsgiapp.pipelines.base64text import decode_base64

DATA = bytes(range(256)) + b"\xfb\xff\xfe"


@pytest.mark.parametrize("length", [0, 1, 2, 3, 257, 259])
def test_both_alphabets_with_and_without_padding(length: int) -> None:
    data = DATA[-length:] if length else b""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert decode_base64("x", text) == data
        assert decode_base64("x", text.rstrip("=")) == data


def test_a_plus_that_became_a_space() -> None:
    text = base64.b64encode(b"\xfb\xef\xbe" * 3).decode()
    assert text.startswith("+") and "+" in text[1:]
    assert decode_base64("x", text.replace("+", " ")) == b"\xfb\xef\xbe" * 3


def test_line_breaks_of_mime_encoders() -> None:
    assert decode_base64("x", base64.encodebytes(DATA).decode()) == DATA


@pytest.mark.parametrize("text", ["a", "abc!", "中文", "YWJj=YWJj", "YQ==YQ==", "abcde"])
def test_what_is_not_base64_names_the_field(text: str) -> None:
    with pytest.raises(InvalidField, match="img: not base64") as caught:
        decode_base64("img", text)
    assert caught.value.field == "img"
