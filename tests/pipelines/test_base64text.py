"""base64 as clients really send it."""

import base64
import binascii
import random

import pytest

from wsgiapp.errors import InvalidField
from wsgiapp.pipelines import base64text
from wsgiapp.pipelines.base64text import decode_base64, encode_base64

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


def strictly(text: str) -> bytes | None:
    """What the standard library's strict decoder makes of it; None where it rejects."""
    compact = text.translate(str.maketrans("-_ ", "+/+", "\r\n\t")).rstrip("=")
    try:
        return binascii.a2b_base64(compact + "=" * (-len(compact) % 4), strict_mode=True)
    except ValueError:
        return None


def test_it_takes_and_rejects_what_the_standard_library_does() -> None:
    source = random.Random(6)
    alphabet = "AZaz09+/-_= \r\n\t" + "é中*.,\0\v\f\u2028"
    rejected = 0
    for _ in range(20_000):
        text = list(base64.b64encode(source.randbytes(source.randrange(40))).decode())
        for _ in range(source.randrange(3)):
            text.insert(source.randrange(len(text) + 1), source.choice(alphabet))
        joined = "".join(text)
        expected = strictly(joined)
        rejected += expected is None
        if expected is None:
            with pytest.raises(InvalidField):
                decode_base64("x", joined)
        else:
            assert decode_base64("x", joined) == expected, joined
    assert 2_000 < rejected < 18_000


@pytest.mark.parametrize("length", range(5))
def test_encoding(length: int) -> None:
    assert encode_base64(DATA[-length:]) == base64.b64encode(DATA[-length:]).decode()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 11, 12, 13, 100])
def test_long_texts_are_read_in_pieces(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64text, "PIECE_CHARS", 8)
    data = bytes(range(150, 150 + size))
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data).rstrip(b"="), base64.encodebytes(data)):
        assert decode_base64("img", text.decode()) == data
    for wrong in ("QUJDRA==QUJD", "QUI=QUJD", "QUJDQUJDQ"):
        with pytest.raises(InvalidField, match=r"^img: not base64"):
            decode_base64("img", wrong)
