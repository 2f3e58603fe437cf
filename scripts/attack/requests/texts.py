"""Texts, lists and forms for the simple endpoints."""

from __future__ import annotations

import random

from attack.request import FORM, MEBIBYTE, PICTURE, SIMPLE, HeavyRequest, as_json, gzipped, post, repeated

MULTIPART = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="img"\r\n\r\n'
rng = random.Random(1)
LONG_TEXT = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(10_000))


def literal(size: int) -> bytes:
    """A list of words as Python prints it, in a field of JSON."""
    return b'{"words": "[' + b"'a'," * (size // 4 - 10) + b']"}'


REQUESTS = [
    post("a text of 10,000 characters", SIMPLE, as_json({"line": LONG_TEXT}), 200),
    post("a text of one word", SIMPLE, as_json({"line": "的" * 10_000}), 200),
    post("one long text among 255 short ones", SIMPLE, as_json({"lines": ["好" * 9000, *["好"] * 255]}), 413),
    post("10,000 words", SIMPLE, as_json({"words": ["a"] * 10_000}), 200),
    post("a list literal", SIMPLE, literal, 413, 400),
    post("a list literal, gzip", SIMPLE, gzipped(literal), 413, 400, Content_Encoding="gzip"),
    post("a list literal of 160 kB", SIMPLE, lambda _: literal(159_000), 413),
    post("a list literal of escapes", SIMPLE, lambda _: b'{"words": "[' + b"'\\\\n'," * 26_000 + b']"}', 400, 413),
    post("fields of a form", SIMPLE, repeated(b"", b"a=&", b""), 413, kind=FORM),
    post("a form's value of escapes", SIMPLE, repeated(b"line=", b"%41", b""), 413, kind=FORM),
    post("a form's value of plus signs", SIMPLE, repeated(b"line=", b"+", b""), 413, kind=FORM),
    post("a form's name", SIMPLE, repeated(b"", b"%ff", b"=1"), 400, kind=FORM),
    post("a form's value not in UTF-8", SIMPLE, repeated(b"line=", b"%e4", b""), 400, kind=FORM),
    post("a part's header", SIMPLE, repeated(b"--x\r\nA: ", b"b", b""), 400, kind=MULTIPART),
    post("a part's content", SIMPLE, repeated(PART, b"\r\n-", b"\r\n--x--"), 400, kind=MULTIPART),
    post("boundaries that are not any", SIMPLE, repeated(PART, b"--x", b"\r\n--x--"), 400, kind=MULTIPART),
    post("a boundary without an end", SIMPLE, repeated(b"--x", b" ", b""), 400, kind=MULTIPART),
    post(
        "options of parts",
        SIMPLE,
        lambda _: (b"--x\r\nContent-Disposition: f;" + b"a=b;" * 4000 + b"\r\n\r\n\r\n") * 99,
        400,
        kind=MULTIPART,
    ),
    HeavyRequest(
        "Accept",
        frozenset({200, 431}),
        f"{SIMPLE}?line=5aW9",
        headers={f"Accept-{i}": "image/png," * 6000 for i in range(50)} | {"Accept": "image/png," * 6000},
    ),
    HeavyRequest("a query of fields", frozenset({413}), f"{SIMPLE}?" + "a=&" * (MEBIBYTE // 3 - 100)),
    HeavyRequest("a query of escapes", frozenset({413, 400}), f"{SIMPLE}?line=" + "%41" * (MEBIBYTE // 3 - 100)),
    HeavyRequest("a path of escapes", frozenset({414}), "/" + "%41" * (MEBIBYTE // 3 - 100)),
    HeavyRequest("a path of slashes", frozenset({414}), "/a" * (MEBIBYTE // 2 - 100)),
    HeavyRequest("a model's name", frozenset({414}), "/v1/models/" + "%41" * (MEBIBYTE // 3 - 100)),
    post("base64 in JSON", PICTURE, repeated(b'{"img": "', b"iVBO", b'"}'), 400),
    post("base64 in JSON, URL-safe", PICTURE, repeated(b'{"img": "', b"-_-\\n", b'"}'), 400),
    post("base64 in a form", PICTURE, repeated(b"img=", b"iVBO", b""), 400, kind=FORM),
    post("a text that is too long", SIMPLE, repeated(b'{"line": "', "好".encode(), b'"}'), 413),
    post("a text that is too long, of escapes", SIMPLE, repeated(b'{"line": "', b"\\ud83d\\ude00", b'"}'), 413),
    post("a text of quotes", SIMPLE, repeated(b'{"line": "', b'\\"', b'"}'), 413),
    post("a string without an end", SIMPLE, repeated(b'{"line": "', b"a", b""), 400),
    post("JSON in GBK", SIMPLE, repeated(b'{"line": "', b"a", b'\xba\xc3"}'), 400),
    post("a picture that is not one", PICTURE, repeated(b"", b"GIF", b""), 400, kind="image/gif"),
]
