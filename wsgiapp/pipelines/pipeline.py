"""`Pipeline`: what a model family needs around its model: input from a request, answer from its outputs.

A pipeline is pure: it does no I/O and knows neither HTTP nor the model server. To add one, write a class with the
methods of `Pipeline`, name it in the entry point group `wsgiapp.pipelines` of your own package, and put that name in
a `[models.NAME]` table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from wsgiapp.errors import SettingsError
from wsgiapp.pipelines.memory_budget import MemoryBudget
from wsgiapp.tfserving.tensors import Arrays


@dataclass(frozen=True, slots=True)
class TextLimits:
    """`chars`: of all texts in one request. `rows`: texts in one request. `words`: of them all, padding included."""

    chars: int = 10_000
    rows: int = 256
    words: int = 65_536


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """`pixels`: width x height, before anything is decoded. `memory`: what all pictures may take while they are."""

    pixels: int = 50_000_000
    memory: MemoryBudget = field(default_factory=MemoryBudget)


@dataclass(frozen=True, slots=True)
class Resources:
    """What the service gives every pipeline: its limits, a folder for files that can be made again, and how pictures in
    JSON are encoded where nothing else is asked for.

    A pipeline that is not `heavy` calls `pause` after some milliseconds of work, which lets other requests be answered
    meanwhile. `answer_bytes` is the limit on a whole answer.
    """

    text: TextLimits = TextLimits()
    image: ImageLimits = field(default_factory=ImageLimits)
    cache: Path = Path("var/cache")
    encoding: str = "png"
    answer_bytes: int = 2**25
    pause: Callable[[], object] = int


class Payload(NamedTuple):
    """What a client sent, by field name, before anyone looked into it.

    `fields` holds text and JSON values, `files` whole files (multipart parts; a raw body is the file ""). `in_url` is
    true where values had to fit into a URL or a form, so that text comes in base64. `as_picture` is true where the
    client prefers a bare picture to JSON.
    """

    fields: Mapping[str, Any] = MappingProxyType({})
    files: Mapping[str, bytes] = MappingProxyType({})
    in_url: bool = False
    as_picture: bool = False


class Prepared(NamedTuple):
    """The arrays of one call, by input name, and what `postprocess` has to remember of the request."""

    inputs: Arrays
    context: Any = None


class Media(NamedTuple):
    """An answer that is a file rather than JSON."""

    content: bytes
    mimetype: str


Result = Mapping[str, Any] | Media


class Pipeline(Protocol):
    """One model family.

    Requests share calls to the model server where they fit together: their rows, which the first axis counts, follow
    each other. `padding` names the inputs whose rows may differ in length (the second axis), and the value that the
    model takes for nothing there.

    Where `heavy` is true, `preprocess` and `postprocess` run on native threads, several at a time: for work that takes
    milliseconds in code that lets go of the interpreter's lock, as OpenCV and numpy do. The hand-over costs 0.1 ms.
    What takes megabytes is reserved first, of `Resources.image.memory`, as `decode_image` does.

    A pipeline may also have a method `cost(payload) -> float`: what a request takes in multiples of a usual one, found
    in microseconds and without an error, whatever the payload holds. By it waiting times are predicted, and requests
    that cost many times the usual wait for themselves.
    """

    padding: Mapping[str, Any]
    heavy: bool

    def __init__(self, options: Mapping[str, Any], resources: Resources) -> None:
        """Take the model's `options`; raise `SettingsError` for those it cannot use."""

    def warm_up(self) -> None:
        """Load what the first request would otherwise wait for."""

    def preprocess(self, payload: Payload) -> Prepared:
        """Turn a payload into the model's inputs; raise `InvalidField` or `TooLarge` for a field that is wrong."""

    def postprocess(self, outputs: Arrays, context: Any) -> Result:
        """Turn the model's outputs into the answer; `context` comes from `preprocess`."""

    def examples(self) -> Sequence[Arrays]:
        """The inputs of a few requests as different as they come, by which a version's batched and single answers are
        compared; with fewer than two, requests are never batched."""


def reject_unknown_options(options: Mapping[str, Any], known: set[str]) -> None:
    """Raise `SettingsError` for an option that the pipeline does not have."""
    for key in options:
        if key not in known:
            raise SettingsError(f"options.{key}: no such option; known are {', '.join(sorted(known))}")
