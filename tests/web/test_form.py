"""Queries and forms: fields by name and files, whatever clients make of them."""

import random
import re
from urllib.parse import unquote_to_bytes

import pytest
from werkzeug.formparser import parse_form_data
from werkzeug.test import EnvironBuilder

from support.http_client import multipart
from wsgiapp.errors import InvalidField, TooLarge
from wsgiapp.web import form
from wsgiapp.web.form import Fields, parse_multipart, parse_pairs

KIND = "multipart/form-data; boundary=b"
GBK = "图片.png".encode("gbk")


def part(disposition: bytes, content: bytes = b"x", line_break: bytes = b"\r\n") -> bytes:
    head = b"Content-Disposition: form-data; " + disposition
    return line_break.join([b"--b", head, b"", content, b""])


def test_pairs() -> None:
    assert parse_pairs(b"a=1&b=&c&a=2&d=%E5%A5%BD+x&=e", "query") == {"a": "1", "b": "", "c": "", "d": "好 x", "": "e"}
    assert parse_pairs(b"", "query") == {}
    assert len(parse_pairs(b"&".join(b"a%d=" % i for i in range(1000)), "query")) == 1000
    for sent in (b"&" * 1000, b"a=1&" * 300_000):
        with pytest.raises(TooLarge, match="query: more than 1000 fields"):
            parse_pairs(sent, "query")


@pytest.mark.parametrize("sent", [b"line=\xce\xd2&a=b", b"a=b&line=%CE%D2", b"line=%E5%A5&a=b", b"line=YQ%FF&a=b"])
def test_a_field_that_is_not_utf_8_is_reported_when_it_is_read(sent: bytes) -> None:
    fields = parse_pairs(sent, "query")
    assert fields["a"] == "b" and "line" in fields
    for read in (fields.__getitem__, fields.get):
        with pytest.raises(
            InvalidField, match=r"^line: not UTF-8 \(a byte is 0x..\); send it in UTF-8, or base64"
        ) as caught:
            read("line")
        assert caught.value.field == "line"
    assert Fields(fields.items()).get("other", 3) == 3


@pytest.mark.parametrize("seed", range(3))
def test_long_values_are_decoded_as_short_ones(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    turns: list[None] = []

    def turn() -> None:
        turns.append(None)

    for size in [1, 2, 3, 5, 100]:
        monkeypatch.setattr(form, "UNQUOTED_AT_ONCE", 2 + size)
        for _ in range(50):
            value = "".join(rng.choices(["%", "a", "%41", "%2", "+", "%2B", "%e5%a5%bd", "好", "F"], k=60)).encode()
            expected = unquote_to_bytes(value.replace(b"+", b" "))
            try:
                text = expected.decode()
            except UnicodeDecodeError:
                continue
            assert parse_pairs(b"a=" + value, "query", turn) == {"a": text}
        assert turns


@pytest.mark.parametrize("line_break", [b"\r\n", b"\n", b"\r"], ids=["CRLF", "LF", "CR"])
@pytest.mark.parametrize("preamble", [b"", b"to be ignored\r\n", b"\r\n"])
@pytest.mark.parametrize("epilogue", [b"", b"\r\n", b"\r\n\r\n--b\r\nmore"])
def test_parts(line_break: bytes, preamble: bytes, epilogue: bytes) -> None:
    content = b"\r\n--bc\r\n --b\r\n\0\xff-"
    parts = [
        part(b'name="a"', b"1", line_break),
        part(b"name=b", b"", line_break),
        part(b'name="img"; filename="x.png"', content, line_break),
        part(b'name="a"', b"second", line_break),
        part(b'name="img"; filename=""', b"second", line_break),
    ]
    parsed = parse_multipart(preamble + b"".join(parts) + b"--b--" + epilogue, KIND)
    assert parsed.fields == {"a": "1", "b": ""}
    assert parsed.files == {"img": content}


@pytest.mark.parametrize("size", [0, 1, 65_530, 65_536, 600_000])
def test_werkzeug_parses_the_same(size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    body, kind = multipart("img", "图.png", content, encoding="npy", label="好")
    _, fields, files = parse_form_data(EnvironBuilder(method="POST", data=body, content_type=kind).get_environ())
    parsed = parse_multipart(body, kind)
    assert parsed.fields == fields.to_dict() == {"encoding": "npy", "label": "好"}
    assert parsed.files == {"img": files["img"].read()} == {"img": content}


@pytest.mark.parametrize(
    "disposition",
    [
        b'name="img"; filename="' + GBK + b'"',
        b'name="img"; filename="' + "一\u4e58".encode("gbk") + b'\\"',  # the second byte of a character of GBK
        b'filename="' + GBK + b'"; name="img"',
        b"name=img; filename=" + GBK,
        b"name=\"img\"; filename*=UTF-8''%E5%9B%BE.png",
        b"name=\"img\"; filename*=GBK''%CD%BC.png",
        b'name="img"; filename="C:\\dir\\x.png"',
        b'name="img"; FILENAME="a;b=c"',
        b'name="img";\r\n filename="x"',
    ],
)
def test_a_file_is_taken_whatever_its_name(disposition: bytes) -> None:
    parsed = parse_multipart(part(disposition) + part(b'name="encoding"', b"npy") + b"--b--\r\n", KIND)
    assert parsed.files == {"img": b"x"}
    assert parsed.fields == {"encoding": "npy"}


def test_a_part_that_is_not_utf_8_is_an_error_of_its_field() -> None:
    parsed = parse_multipart(part(b'name="line"', b"\xce\xd2") + part(b'name="a"', b"b") + b"--b--", KIND)
    assert parsed.fields["a"] == "b"
    with pytest.raises(InvalidField, match="line: not UTF-8"):
        parsed.fields["line"]


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [
        (
            part(b'name="a"') + b"--b--",
            "multipart/form-data",
            "multipart/form-data without a boundary; leave Content-Type",
        ),
        (part(b'name="a"') + b"--b--", "multipart/form-data; boundary=", "multipart/form-data without a boundary"),
        (part(b'name="a"') + b"--b--", "multipart/form-data; boundary=c", "no part of multipart/form-data begins with"),
        (b"", KIND, "no part of multipart/form-data begins with"),
        (part(b'name="a"'), KIND, "cut off: the last boundary"),
        (part(b'name="a"') + part(b'name="c"')[:-4], KIND, "cut off: the last boundary"),
        (b"--b\r\n--b--", KIND, "a part of multipart/form-data without an empty line"),
        (b"--b\r\nA: b\r\n\r\n\r\n--b--", KIND, 'a part of multipart/form-data without "Content-Disposition'),
        (part(b"") + b"--b--", KIND, 'a part of multipart/form-data without "Content-Disposition'),
        (
            b"--b\r\nA: " + b"b" * 20_000 + part(b'name="a"')[3:] + b"--b--",
            KIND,
            "a part of multipart/form-data without an",
        ),
    ],
)
def test_what_is_wrong_with_a_form(body: bytes, kind: str, problem: str) -> None:
    with pytest.raises(InvalidField, match=f"^body: {re.escape(problem)}"):
        parse_multipart(body, kind)


def test_up_to_a_hundred_parts() -> None:
    parts = [part(b"name=a%d" % i) for i in range(101)]
    assert len(parse_multipart(b"".join(parts[:100]) + b"--b--", KIND).fields) == 100
    with pytest.raises(TooLarge, match="body: more than 100 parts of multipart/form-data"):
        parse_multipart(b"".join(parts) + b"--b--", KIND)


def test_values_without_escapes_and_long_texts_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "UNQUOTED_AT_ONCE", 10)
    monkeypatch.setattr(form, "DECODED_AT_ONCE", 10)
    turns: list[None] = []
    text = "好a" * 100
    assert parse_pairs(b"a=" + text.encode(), "query", lambda: turns.append(None)) == {"a": text}
    assert len(turns) > 30
    with pytest.raises(InvalidField, match=r"a: not UTF-8 \(a byte is 0xE5\)"):
        parse_pairs(b"a=" + text.encode() + b"\xe5", "query")["a"]


def test_a_long_name_is_nobody_s() -> None:
    assert parse_pairs(b"%ff" * 1000 + b"=1&a=2", "query") == {"a": "2"}


def test_a_form_is_searched_and_copied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "SEARCHED_AT_ONCE", 7)
    monkeypatch.setattr(form, "COPIED_AT_ONCE", 100)
    turns: list[None] = []
    content = bytes(range(256)) * 10
    body, kind = multipart("img", "a.png", content, line="好")
    parsed = parse_multipart(body, kind, lambda: turns.append(None))
    assert parsed.files == {"img": content} and parsed.fields == {"line": "好"}
    assert len(turns) > len(content) / 7


def test_what_looks_like_boundaries_is_looked_at_so_often_and_no_more() -> None:
    few = part(b'name="a"', b"x" + b"--b" * 900) + b"--b--"
    assert len(parse_multipart(few, KIND).fields["a"]) == 2701
    for content in (b"x" + b"--b" * 1100, b"\r\n--bc" * 1100, b"\r\n--b" + b" " * 100 + b"--b" * 1001):
        with pytest.raises(InvalidField, match=r"^body: the boundary of multipart/form-data stands in its content"):
            parse_multipart(part(b'name="a"', content) + b"--b--", KIND)


def test_a_boundary_has_seventy_characters() -> None:
    body = part(b'name="a"').replace(b"--b", b"--" + b"b" * 70) + b"--" + b"b" * 70 + b"--"
    assert parse_multipart(body, "multipart/form-data; boundary=" + "b" * 70).fields == {"a": "x"}
    with pytest.raises(InvalidField, match="more than 70 characters"):
        parse_multipart(body, "multipart/form-data; boundary=" + "b" * 71)
    with pytest.raises(InvalidField, match="without a boundary"):
        parse_multipart(body, "multipart/form-data; " + "a=b;" * 300 + "boundary=b")
