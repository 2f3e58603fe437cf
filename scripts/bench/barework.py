"""The steps of an image request with nothing around them: the unit that the gateway's image CPU is measured in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle

import numpy as np

from bench.peers.picture import SIDE, encode_mask, network_input


def bare_image_seconds(jpegs: Sequence[bytes], seconds: float) -> float:
    """CPU seconds a picture of decode, resize, minus mean, then stretch, resize back, encode; done for `seconds`."""
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
