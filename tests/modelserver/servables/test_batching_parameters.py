"""The file of batching parameters."""

from pathlib import Path

import pytest

from support.processes import SHARED_DATA
from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.servables.batching_parameters import BatchingParameters, read_parameters

SHARED_FILE = SHARED_DATA / "tfserving/batching_config.txt"


def read(folder: Path, text: str) -> BatchingParameters:
    file = folder / "batching.txt"
    file.write_text(text)
    return read_parameters(file)


def test_defaults_are_tf_serving_s(tmp_path: Path) -> None:
    for parameters in (read_parameters(None), read(tmp_path, "")):
        assert (parameters.max_batch_size, parameters.batch_timeout_micros, parameters.max_enqueued_batches) == (
            1000,
            0,
            10,
        )
        assert parameters.num_batch_threads >= 1
        assert parameters.run_size == 1000


def test_all_fields(tmp_path: Path) -> None:
    text = """
        max_batch_size { value: 32 }
        batch_timeout_micros: { value: 100 }
        max_enqueued_batches { value: 7 }
        num_batch_threads { value: 2 }
        thread_pool_name { value: "threads" }
        allowed_batch_sizes: [2, 8]
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 8 }
    """
    assert read(tmp_path, text) == BatchingParameters(32, 100, 7, 2, (2, 8), True, True, 8)


def test_a_run_is_as_large_as_a_request_unless_it_is_split(tmp_path: Path) -> None:
    assert read(tmp_path, "max_batch_size { value: 32 }").run_size == 32
    assert read(tmp_path, "max_batch_size { value: 32 } enable_large_batch_splitting { value: true }").run_size == 32


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_size { value: }", "Invalid protobuf file: "),
        ("batch_size: 3", "Invalid protobuf file: "),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be positive; was -1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]", "allowed_batch_sizes entries must be"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "batching.txt") in str(caught.value)
    assert problem in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.txt"):
        read_parameters(tmp_path / "missing.txt")


@pytest.mark.skipif(not SHARED_FILE.exists(), reason="TF Serving's batching_config.txt is not here")
def test_tf_serving_s_own_file() -> None:
    assert read_parameters(SHARED_FILE) == BatchingParameters(128, 0, 1_000_000, 8, max_execution_batch_size=128)
