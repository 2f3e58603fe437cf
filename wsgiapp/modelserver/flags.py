"""The command line: TF Serving's names and defaults, those that are supported."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Flags:
    """What `tensorflow_model_server` would be started with."""

    host: str
    port: int
    model_name: str
    model_base_path: str
    model_config_file: Path | None
    file_system_poll_wait_seconds: float
    load_retry_interval_micros: int
    grpc_max_threads: int
    enable_serialization_as_tensor_content: bool
    enable_signature_method_name_check: bool
    enable_batching: bool
    batching_parameters_file: Path | None
    prefer_tflite_model: bool
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    drain_seconds: float


def parse(argv: Sequence[str] | None = None) -> Flags:
    """The flags of a command line; prints what is wrong and exits with 2 where it cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m wsgiapp.modelserver", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    switch = partial(_add_switch, parser)
    add("--host", default="0.0.0.0", help="address to listen on")
    add("--port", type=int, default=8500, help="TCP port of gRPC")
    add("--model_name", default="default", help="name of the one model, where there is no model_config_file")
    add("--model_base_path", default="", help="folder of that model's version directories")
    add("--model_config_file", type=Path, default=None, help="ModelServerConfig in text format")
    add(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="seconds between two looks for new versions; 0 looks once",
    )
    add(
        "--load_retry_interval_micros",
        type=int,
        default=60_000_000,
        help="longest pause before a version that failed is tried again unchanged",
    )
    add("--grpc_max_threads", type=int, default=16, help="calls answered at the same time; the others wait")
    switch(
        "--enable_serialization_as_tensor_content",
        "answer numbers in tensor_content, which is faster, instead of float_val and the like",
    )
    switch(
        "--enable_signature_method_name_check", "refuse Classify and Regress on signatures exported for another call"
    )
    switch("--enable_batching", "let requests that wait at the same moment share a run")
    add("--batching_parameters_file", type=Path, default=None, help="BatchingParameters in text format")
    switch("--prefer_tflite_model", "load a version's model.tflite, where it has one, instead of its SavedModel")
    add("--tensorflow_session_parallelism", type=int, default=0, help="sets the next two, where neither is set")
    add("--tensorflow_intra_op_parallelism", type=int, default=0, help="threads inside one operation; 0: the cores")
    add("--tensorflow_inter_op_parallelism", type=int, default=0, help="operations at the same time; 0: the cores")
    add("--drain_seconds", type=float, default=20.0, help="seconds that calls in flight get at SIGTERM")
    flags = Flags(**vars(parser.parse_args(argv)))
    if not flags.model_config_file and not flags.model_base_path:
        parser.error("one of --model_config_file and --model_base_path is needed")
    if problem := _contradiction(flags):
        parser.error(problem)
    return flags


def _contradiction(flags: Flags) -> str:
    """What two flags together do not allow, in TF Serving's words; empty where nothing is."""
    if flags.batching_parameters_file and not flags.enable_batching:
        return (
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true. "
            "Add --enable_batching, or leave --batching_parameters_file out."
        )
    ops = (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if flags.tensorflow_session_parallelism > 0 and all(threads > 0 for threads in ops):
        return (
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )
    return ""


def _add_switch(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """A flag that is off by default; `--name`, `--name=true` and `--name=1` turn it on."""
    parser.add_argument(name, type=_boolean, nargs="?", const=True, default=False, help=text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")
