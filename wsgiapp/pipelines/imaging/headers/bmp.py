"""BMP: the structures BITMAPCOREHEADER, BITMAPINFOHEADER and BITMAPV5HEADER."""

import struct

from wsgiapp.pipelines.imaging.headers.header import Header

SIGNATURE = b"BM"
# OpenCV reads blue, green and red, and makes a copy in the other order.
OPAQUE_BYTES, ALPHA_BYTES = 6, 4


def read(data: bytes) -> Header:
    """From the information header, in one of its sizes."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<2H", data, 18)
        return Header(width, height, OPAQUE_BYTES * width * height)
    width, height, _, bits, compression = struct.unpack_from("<2i2HI", data, 18)
    height = abs(height)  # negative: the first row is the top one
    # Without a mask for it, the fourth byte is no alpha, and mostly 0.
    alpha = bits == 32 and compression == 3 and size >= 56 and any(data[66:70])
    return Header(width, height, (ALPHA_BYTES if alpha else OPAQUE_BYTES) * width * height, alpha=alpha)
