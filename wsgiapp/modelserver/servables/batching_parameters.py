"""The file behind `--batching_parameters_file`: TF Serving's `BatchingParameters` in text format."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver import text_configs
from wsgiapp.tfserving import texts


@dataclass(frozen=True, slots=True)
class BatchingParameters:
    """TF Serving's names and defaults.

    `max_batch_size` limits the rows of a request, and of a run unless `enable_large_batch_splitting` splits requests
    into runs of `max_execution_batch_size` rows. `allowed_batch_sizes` (ascending; none: any) are those that runs are
    padded to. Requests whose other dimensions differ share a run where `pad_variable_length_inputs` is set.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 1000

    @property
    def run_size(self) -> int:
        """The rows that a run has at most."""
        return self.max_execution_batch_size if self.enable_large_batch_splitting else self.max_batch_size


def read_parameters(path: Path | None) -> BatchingParameters:
    """The parameters in a file; the defaults without one.

    Raises `SettingsError` that names the file and the field.
    """
    if path is None:
        return BatchingParameters()
    parameters = BatchingParameters(**_given(text_configs.read("BatchingParameters", path)))
    if problem := _problem(parameters):
        raise SettingsError(f"{path}: {problem}")
    return parameters


def _given(message: Any) -> dict[str, Any]:
    """The values that the text sets, but for the name of the threads, which changes nothing."""
    given: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name == "allowed_batch_sizes":
            given[field.name] = tuple(value)
        elif field.name != "thread_pool_name":
            given[field.name] = getattr(value, "value", value)
    if "max_execution_batch_size" not in given and "max_batch_size" in given:
        given["max_execution_batch_size"] = given["max_batch_size"]
    return given


def _problem(parameters: BatchingParameters) -> str:
    """What is wrong with the values; empty where nothing is."""
    for name in ("max_batch_size", "max_execution_batch_size", "num_batch_threads"):
        if (value := getattr(parameters, name)) < 1:
            return texts.MUST_BE_POSITIVE.format(name=name, value=value)
    for name in ("batch_timeout_micros", "max_enqueued_batches"):
        if (value := getattr(parameters, name)) < 0:
            return texts.MUST_NOT_BE_NEGATIVE.format(name=name, value=value)
    if parameters.run_size > parameters.max_batch_size:
        return "max_execution_batch_size must be less than or equal to max_batch_size"
    sizes = parameters.allowed_batch_sizes
    if any(size >= next_size for size, next_size in zip((0, *sizes), sizes, strict=False)):
        return "allowed_batch_sizes entries must be positive and monotonically increasing"
    if sizes and sizes[-1] != parameters.run_size:
        return texts.WRONG_LAST_BATCH_SIZE.format(found=sizes[-1], expected=parameters.run_size)
    return ""
