"""TF Serving's command line."""

import logging
from pathlib import Path

import pytest

from wsgiapp.modelserver.flags import IGNORED, parse

BASE = "--model_base_path=/m"


def test_defaults_are_tf_serving_s() -> None:
    flags = parse([BASE])
    assert (flags.port, flags.rest_api_port, flags.grpc_socket_path) == (8500, 0, "")
    assert (flags.model_name, flags.model_base_path, flags.model_config_file) == ("default", "/m", None)
    assert (flags.model_config_file_poll_wait_seconds, flags.file_system_poll_wait_seconds) == (0, 1)
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert flags.rest_api_timeout_in_ms == 30_000
    assert not flags.rest_api_enable_cors_support
    assert not flags.allow_version_labels_for_unavailable_models
    assert not flags.enable_serialization_as_tensor_content
    assert flags.enable_profiler


def test_both_ways_to_give_a_value_and_the_last_one_wins() -> None:
    flags = parse([BASE, "--port=1", "--port", "2", "--ssl_config_file=/x", "--grpc_socket_path=/s"])
    assert (flags.port, flags.ssl_config_file, flags.grpc_socket_path) == (2, Path("/x"), "/s")


@pytest.mark.parametrize(
    ("given", "value"), [("", True), ("=true", True), ("=false", False), ("=1", True), ("=0", False)]
)
def test_booleans(given: str, value: bool) -> None:
    assert parse([BASE, f"--allow_version_labels_for_unavailable_models{given}"]) == parse(
        [BASE, f"--allow_version_labels_for_unavailable_models={str(value).lower()}"]
    )


def test_libraries_are_paths_with_commas_between_them() -> None:
    assert parse([BASE]).operation_libraries == ()
    assert parse([BASE, "--operation_libraries=/a b.so,/c.so"]).operation_libraries == (Path("/a b.so"), Path("/c.so"))


def test_cors_of_rest() -> None:
    assert parse([BASE, "--rest_api_enable_cors_support"]).rest_api_enable_cors_support
    assert not parse([BASE, "--rest_api_enable_cors_support=false"]).rest_api_enable_cors_support


def test_channel_arguments() -> None:
    flags = parse([BASE, "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb"])
    assert flags.grpc_channel_arguments == (("grpc.max_connection_age_ms", 2000), ("grpc.lb_policy_name", "grpclb"))


def test_flags_without_effect_are_accepted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        flags = parse([BASE, *(f"--{name}=1" for name in IGNORED), "--flush_filesystem_caches", "--port=7"])
    assert flags.port == 7
    assert len(caplog.records) == len(IGNORED)
    assert "--flush_filesystem_caches=true is ignored" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of --model_config_file and --model_base_path is needed"),
        ([BASE, "--nosuch=1"], "unrecognized arguments: --nosuch=1"),
        ([BASE, "--model_nam=x"], "unrecognized arguments: --model_nam=x; did you mean --model_name?"),
        ([BASE, "--noenable_profiler"], "did you mean --enable_profiler?"),
        ([BASE, "--port=http"], "--port: 'http' is not a port"),
        ([BASE, "--port=70000"], "'70000' is not a port (0 to 65535)"),
        ([BASE, "--port=0"], "set --grpc_socket_path"),
        ([BASE, "--max_num_load_retries=-1"], "'-1' is not a whole number of 0 or more"),
        ([BASE, "--grpc_channel_arguments=a"], "'a' is not KEY=VALUE"),
        ([BASE, "--enable_serialization_as_tensor_content=perhaps"], "'perhaps' is not true or false"),
        ([BASE, "--use_alts_credentials"], "--ssl_config_file sets up TLS"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_version_is_printed_as_tf_serving_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--version"])
    assert not caught.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TensorFlow ModelServer: ")
    assert lines[1].startswith("TensorFlow Library: 2.")
