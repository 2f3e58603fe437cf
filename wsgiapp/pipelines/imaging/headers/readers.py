"""Which file is of which format.

A picture's size is checked before it is decoded, so what is read here must be what the decoder is going to read. A file
that says it twice, or in a way that readers understand differently, is rejected; so is a format that is not in the
table, of the many that OpenCV reads (JPEG 2000, AVIF, HDR, PxM, Sun raster and others).
"""

import struct
from collections.abc import Callable, Mapping

from wsgiapp.pipelines.imaging.headers import bmp, gif, jpeg, png, tiff, webp
from wsgiapp.pipelines.imaging.headers.header import Header

READERS: Mapping[bytes, Callable[[bytes], Header]] = {
    jpeg.SIGNATURE: jpeg.read,
    png.SIGNATURE: png.read,
    webp.SIGNATURE: webp.read,
    gif.SIGNATURE: gif.read,
    bmp.SIGNATURE: bmp.read,
    tiff.LITTLE: tiff.read,
    tiff.BIG: tiff.read,
}


def read_header(data: bytes) -> Header | None:
    """The header of an image file, or nothing for one of another kind.

    Raises `Unsupported`, and `ValueError` for a header that is broken or ambiguous. It takes no longer for a large
    picture: what does, is left to the header's `check`.
    """
    for signature, reader in READERS.items():
        if data.startswith(signature):
            try:
                header = reader(data)
            except (struct.error, IndexError) as exc:
                raise ValueError("cut off") from exc
            if header.width <= 0 or header.height <= 0:
                raise ValueError("no pixels")
            return header
    return None
