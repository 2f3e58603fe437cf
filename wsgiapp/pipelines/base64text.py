"""base64 as clients really send it."""

import binascii

import pybase64

from wsgiapp.errors import InvalidField

# URL-safe alphabet to the standard one; a "+" that a form or URL decoder made a space; line breaks of MIME encoders.
# One by one: together, as `str.translate` does it, they take 140 us for a photograph instead of 10.
_TO_STANDARD = (("-", "+"), ("_", "/"), (" ", "+"), ("\r", ""), ("\n", ""), ("\t", ""))


def decode_base64(field: str, text: str) -> bytes:
    """The bytes of base64 `text`: standard or URL-safe alphabet, with or without padding (RFC 4648, 4 and 5).

    Raises `InvalidField` naming `field`.
    """
    for variant, standard in _TO_STANDARD:
        text = text.replace(variant, standard)
    compact = text.rstrip("=")
    try:
        return pybase64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidField(field, "not base64") from exc


def encode_base64(data: bytes) -> str:
    """`data` in the standard alphabet, padded, without line breaks."""
    return pybase64.b64encode_as_string(data)
