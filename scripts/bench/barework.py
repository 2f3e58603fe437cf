"""The steps of an image request with nothing around them: the unit that the gateway's image CPU is measured in."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from itertools import cycle

import cv2
import numpy as np

from bench.peers.picture import SIDE, encode_mask, network_input

# Parameters of glibc's mallopt(3), and the bytes up to which freed memory stays in the process.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 16 * 2**20


def bare_image_seconds(jpegs: Sequence[bytes], seconds: float) -> float:
    """CPU seconds a picture of decode, resize, minus mean, then stretch, resize back, encode; done for `seconds`.

    At its best: on one thread, as OpenCV's others mostly wait for work, and in memory that is kept, because fresh pages
    for each picture cost a plain loop a third of its time (measured).
    """
    cv2.setNumThreads(1)
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        ctypes.CDLL(None).mallopt(parameter, KEPT)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    blob = 1 / (1 + np.exp(20 * ((rows - 0.5) ** 2 + (columns - 0.5) ** 2 - 0.1)))
    done = 0
    until = time.perf_counter() + seconds
    started = time.process_time()
    for jpeg in cycle(jpegs):
        _, (height, width) = network_input(jpeg)
        encode_mask(blob, height, width)
        done += 1
        if time.perf_counter() >= until:
            break
    return (time.process_time() - started) / done
