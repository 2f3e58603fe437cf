"""The command line: TF Serving's names and defaults, those that are supported."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
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
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    drain_seconds: float


def parse(argv: Sequence[str] | None = None) -> Flags:
    """The flags of a command line; prints what is wrong and exits with 2 where it cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m wsgiapp.modelserver", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
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
    add(
        "--enable_serialization_as_tensor_content",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="answer numbers in tensor_content, which is faster, instead of float_val and the like",
    )
    add("--tensorflow_intra_op_parallelism", type=int, default=0, help="threads inside one operation; 0: the cores")
    add("--tensorflow_inter_op_parallelism", type=int, default=0, help="operations at the same time; 0: the cores")
    add("--drain_seconds", type=float, default=20.0, help="seconds that calls in flight get at SIGTERM")
    flags = Flags(**vars(parser.parse_args(argv)))
    if not flags.model_config_file and not flags.model_base_path:
        parser.error("one of --model_config_file and --model_base_path is needed")
    return flags


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")
