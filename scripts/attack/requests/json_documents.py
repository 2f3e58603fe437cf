"""JSON documents below `/v1/`."""

from __future__ import annotations

from attack.request import REST, SIMPLE, gzipped, numbered, post, repeated

START, END = b'{"instances": [', b"1]}"
WORDS = repeated(b'{"instances": [{"nwords": 1, "words": [', b'"a",', b'"a"]}]}')

REQUESTS = [
    post("words for the model", REST, WORDS, 413),
    post("words for the model, gzip", REST, gzipped(WORDS), 413, Content_Encoding="gzip"),
    post("65,000 words for the model", REST, lambda _: WORDS(4 * 65_000), 200),
    post("NaN", REST, repeated(START, b"NaN,", END), 400, 413),
    post("small numbers", REST, repeated(START, b"1,", END), 400, 413),
    post("fractions", REST, repeated(START, b"0.5,", END), 400, 413),
    post("numbers with exponents", REST, repeated(START, b"1e5,", END), 400, 413),
    post("integers", REST, repeated(START, b"12345,", END), 400, 413),
    post("one number", REST, repeated(START, b"1", b"]}"), 400, 413),
    post("long numbers", REST, repeated(START, b"1" * 5000 + b",", END), 400, 413),
    post("long fractions", REST, repeated(START, b"0." + b"1" * 5000 + b",", END), 400, 413),
    post("short strings", REST, repeated(START, b'"ab",', END), 400, 413),
    post("strings of three bytes", REST, repeated(START, '"好",'.encode(), END), 400, 413),
    post("one string", REST, repeated(b'{"instances": ["', b"a", b'"]}'), 400, 413),
    post("one string of escapes", REST, repeated(b'{"instances": ["', b"\\u597d", b'"]}'), 400, 413),
    post("brackets", REST, repeated(START, b"[],", END), 413),
    post("a million brackets", REST, lambda _: START + b"[]," * 1_000_000 + END, 400, 413),
    post("opening brackets", REST, repeated(b"", b"[", b""), 400),
    post("brackets in brackets", REST, repeated(START, b"[" * 500 + b"1" + b"]" * 500 + b",", END), 400, 413),
    post("objects", REST, repeated(START, b'{"a":1},', END), 400, 413),
    post(
        "objects of words", REST, repeated(START, b'{"words":["a"],"nwords":1},', b'{"words":["a"],"nwords":1}]}'), 413
    ),
    post("keys", REST, numbered(b'{"instances": [{', '"%07d":1,', b'"a":1}]}'), 413),
    post("keys, simple", SIMPLE, numbered(b"{", '"%07d":1,', b'"a":1}'), 413),
    post("one key", REST, repeated(b'{"', b"a", b'":1}'), 400),
    post("the same key", REST, repeated(b'{"instances": [{', b'"a":1,', b'"a":1}]}'), 400),
    post("colons in strings", REST, repeated(START, b'":\\":",', b'""]}'), 400, 413),
    post("white space", REST, repeated(START, b" ", END), 400, 413),
    post("white space between values", REST, repeated(START, b"1," + b" " * 1000, END), 400, 413),
    post("a mistake at the end", REST, repeated(START, b"1,", b"}"), 400, 413),
    post("rows of unequal length", REST, repeated(b'{"instances": [[1],[', b"1,", b"1]]}"), 400, 413),
    post("examples", "/v1/models/lstm:classify", repeated(b'{"examples": [', b"{},", b"{}]}"), 413),
    post("features", "/v1/models/lstm:classify", repeated(b'{"examples": [{"a": [', b"1,", b"1]}]}"), 413),
    post(
        "base64 of an example",
        "/v1/models/lstm:classify",
        repeated(b'{"examples": [{"a": {"b64": "', b"iVBO", b'"}}]}'),
        400,
        404,
    ),
    post(
        "a picture as numbers",
        "/v1/models/cv_sod:predict",
        lambda _: (
            b'{"instances": ['
            + b",".join([b"[" + b",".join([b"[" + b",".join([b"[255,0.5,1.25]"] * 320) + b"]"] * 320) + b"]"])
            + b"]}"
        ),
        200,
        400,
    ),
    post(
        "columns of a picture",
        "/v1/models/cv_sod:predict",
        lambda _: b'{"inputs": [[' + b",".join([b"[" + b",".join([b"[255,0.5,1.25]"] * 320) + b"]"] * 320) + b"]]}",
        200,
        400,
    ),
    post("brackets, simple", SIMPLE, repeated(b'{"line": [', b"[],", b"[]]}"), 413),
    post("objects, simple", SIMPLE, repeated(b'{"lines": [', b'{"a":1},', b"1]}"), 413, 400),
    post("strings, simple", SIMPLE, repeated(b'{"lines": [', b'"ab",', b'"a"]}'), 413),
]
