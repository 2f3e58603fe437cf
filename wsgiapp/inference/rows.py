"""The rows of several requests as one call's inputs, and its outputs as each request's again.

Rows are what the first axis counts. Inputs of different widths (texts of different lengths) are padded at their end
with the value that the pipeline names for them.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wsgiapp.backend.interface import Inputs
from wsgiapp.errors import InternalError
from wsgiapp.tfserving.tensors import Arrays

Padding = Mapping[str, Any]

LARGE = 32 * 1024  # bytes of a request's array


class Form(NamedTuple):
    """`rows`: 0 where the inputs do not agree on a number. `width`: of the longest row, 1 where none is padded.

    `layout` must be equal for requests to share a call: names, dtypes, and every axis that is not padded.
    """

    rows: int
    width: int
    layout: Hashable


def form(inputs: Arrays, padding: Padding) -> Form:
    """What a batch has to know of one request."""
    rows, width, layout = -1, -1, []
    for name, array in inputs.items():
        shape = array.shape
        here = shape[0] if shape else 0
        rows = here if rows in (-1, here) else 0
        if name in padding:
            width = max(width, shape[1])
            layout.append((name, array.dtype.char, shape[2:]))
        else:
            layout.append((name, array.dtype.char, shape[1:]))
    return Form(max(rows, 0), 1 if width < 0 else width, tuple(layout))


def join(requests: Sequence[Arrays], padding: Padding) -> Inputs:
    """One call's inputs: the rows of all requests, which have the same layout, one after the other.

    Large arrays are not copied for that: a list of them is one input.
    """
    if len(requests) == 1:
        return requests[0]
    joined: dict[str, np.ndarray | Sequence[np.ndarray]] = {}
    for name in requests[0]:
        arrays = [inputs[name] for inputs in requests]
        if name in padding:
            joined[name] = _padded(arrays, padding[name])
        else:
            joined[name] = arrays if arrays[0].nbytes >= LARGE else np.concatenate(arrays)
    return joined


def split(outputs: Arrays, counts: Sequence[int]) -> list[Arrays]:
    """Each request's rows of every output; `counts` are their numbers. Raises `InternalError` where they do not add up.

    The arrays are views of the call's.
    """
    total = sum(counts)
    for name, array in outputs.items():
        if array.ndim == 0 or array.shape[0] != total:
            raise InternalError(f"the output {name} has the shape {list(array.shape)}, not a row for each of {total}")
    parts: list[Arrays] = []
    first = 0
    for rows in counts:
        parts.append({name: array[first : first + rows] for name, array in outputs.items()})
        first += rows
    return parts


def _padded(arrays: Sequence[np.ndarray], value: Any) -> np.ndarray:
    widest = max(array.shape[1] for array in arrays)
    total = sum(array.shape[0] for array in arrays)
    dtype = max(
        (array.dtype for array in arrays), key=lambda each: each.itemsize
    )  # strings of a fixed size differ in it
    padded = np.full((total, widest, *arrays[0].shape[2:]), value, dtype)
    first = 0
    for array in arrays:
        padded[first : first + array.shape[0], : array.shape[1]] = array
        first += array.shape[0]
    return padded
