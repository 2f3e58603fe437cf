"""`Target` and `Backend`: what to call, and what is needed of whoever is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wsgiapp.tfserving.messages import (
    ClassificationResult,
    Input,
    ModelServerConfig,
    ModelSpec,
    ModelVersionStatus,
    RegressionResult,
    SignatureDefMap,
)
from wsgiapp.tfserving.saved_model import DEFAULT_SIGNATURE
from wsgiapp.tfserving.tensors import Arrays

# Inputs by name. A list of arrays is one input, in which they follow one another along their first axis.
Inputs = Mapping[str, np.ndarray | Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Target:
    """What to call: a model, and its version or label (the newest version where neither is set)."""

    model: str
    signature: str = DEFAULT_SIGNATURE
    version: int | None = None
    label: str = ""

    def spec(self) -> ModelSpec:
        """As TF Serving's message."""
        spec = ModelSpec(name=self.model, signature_name=self.signature)
        if self.version is not None:
            spec.version.value = self.version
        elif self.label:
            spec.version_label = self.label
        return spec


class Backend(Protocol):
    """A model server, or several: `model_server.ModelServer`, or a few lines in a test.

    A `deadline` is a point of `time.monotonic()`. Every call raises one of `errors.RequestError`.
    """

    def predict(self, target: Target, inputs: Inputs, deadline: float) -> tuple[Arrays, int]:
        """The outputs by name, and the version that answered."""

    def classify(self, target: Target, examples: Input, deadline: float) -> tuple[ClassificationResult, int]:
        """The classes of each example, and the version that answered."""

    def regress(self, target: Target, examples: Input, deadline: float) -> tuple[RegressionResult, int]:
        """The value of each example, and the version that answered."""

    def metadata(self, target: Target, deadline: float) -> tuple[SignatureDefMap, int]:
        """The signatures of the target's version, and its number."""

    def status(self, target: Target, deadline: float) -> list[ModelVersionStatus]:
        """The states of the target's versions; of one where it names a version or a label."""

    def config(self, deadline: float) -> ModelServerConfig:
        """The active configuration. Raises `Unimplemented` where the model server is TF Serving itself."""

    def reload(self, config: ModelServerConfig, deadline: float) -> None:
        """Replace the active configuration."""

    def metrics(self, deadline: float) -> bytes:
        """Its metrics in Prometheus's text format. Raises `Unimplemented` where it is TF Serving."""

    def close(self) -> None:
        """Close the channel; calls in flight end as `Cancelled`."""
