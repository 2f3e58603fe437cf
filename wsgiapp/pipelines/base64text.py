"""base64 as clients really send it."""

import binascii

from wsgiapp.errors import InvalidField

# URL-safe alphabet to the standard one; a "+" that a form or URL decoder made a space; line breaks of MIME encoders.
_TO_STANDARD = str.maketrans("-_ ", "+/+", "\r\n\t")


def decode_base64(field: str, text: str) -> bytes:
    """The bytes of base64 `text`: standard or URL-safe alphabet, with or without padding (RFC 4648, 4 and 5).

    Raises `InvalidField` naming `field`.
    """
    compact = text.translate(_TO_STANDARD).rstrip("=")
    try:
        return binascii.a2b_base64(compact + "=" * (-len(compact) % 4), strict_mode=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidField(field, "not base64") from exc
