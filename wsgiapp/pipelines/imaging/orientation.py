"""How a picture is turned, by the orientation in its EXIF data (EXIF 2.32, 4.6.4, tag 0x0112).

OpenCV turns the whole picture, for which it takes the same memory again; a few rows and columns of it can be turned
afterwards.
"""

import struct

import numpy as np

ORIENTATION, SHORT = 0x0112, 3
UPRIGHT = 1
ENTRY_BYTES = 12
# By orientation: columns are rows, rows run upward, columns run leftward (in this order).
STEPS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def read_orientation(exif: bytes) -> int:
    """From 1 to 8; 1, upright, where nothing readable says so. `exif` begins with the order of bytes."""
    order = "<" if exif.startswith(b"II") else ">"
    try:
        mark, directory = struct.unpack_from(f"{order}HI", exif, 2)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for position in range(directory + 2, directory + 2 + ENTRY_BYTES * count, ENTRY_BYTES):
            tag, _, _, value = struct.unpack_from(f"{order}2HIH", exif, position)
            if tag == ORIENTATION:
                return value if mark == 42 and value in STEPS else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def turn(stored: np.ndarray, orientation: int) -> np.ndarray:
    """A view of the picture as it is to be seen; the first axis is of rows, the second of columns."""
    swap, up, left = STEPS[orientation]
    turned = stored.swapaxes(0, 1) if swap else stored
    return turned[:: -1 if up else 1, :: -1 if left else 1]


def take_nearest(stored: np.ndarray, orientation: int, size: int) -> np.ndarray:
    """`size` x `size` pixels of the picture as it is to be seen, those that `cv2.INTER_NEAREST` takes."""
    seen = turn(stored, orientation)
    rows, columns = (_nearest(length, size) for length in seen.shape[:2])
    return seen[rows[:, np.newaxis], columns]


def _nearest(length: int, size: int) -> np.ndarray:
    return np.minimum((np.arange(size) * (1 / (size / length))).astype(int), length - 1)
