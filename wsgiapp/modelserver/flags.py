"""The command line: TF Serving's names and defaults, and a few flags of the built-in server's own."""

import argparse
import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from wsgiapp import __version__
from wsgiapp.tfserving import texts

log = logging.getLogger(__name__)

# TF Serving's flags that have no meaning here: they tune what TensorFlow in Python does not have, or does anyway.
IGNORED = (
    "enable_grpc_healthcheck_service",  # always there
    "enable_per_model_batching_parameters",
    "experimental_enable_static_metadata",
    "flush_filesystem_caches",
    "mixed_precision",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "remove_unused_fields_from_bundle_metagraph",
    "response_compression_level",
    "rest_api_num_threads",  # the worker needs no threads
    "skip_initialize_tpu",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "use_saved_model",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
)


@dataclass(frozen=True, slots=True)
class Flags:
    """What `tensorflow_model_server` would be started with."""

    host: str
    port: int
    grpc_socket_path: str
    management: str
    grpc_channel_arguments: tuple[tuple[str, int | str], ...]
    grpc_max_threads: int
    ssl_config_file: Path | None
    enable_profiler: bool
    rest_api_port: int
    rest_api_timeout_in_ms: int
    rest_api_enable_cors_support: bool
    monitoring_config_file: Path | None
    model_name: str
    model_base_path: str
    model_config_file: Path | None
    model_config_file_poll_wait_seconds: float
    model_roots: tuple[Path, ...]
    file_system_poll_wait_seconds: float
    allow_version_labels_for_unavailable_models: bool
    max_num_load_retries: int
    load_retry_interval_micros: int
    num_load_threads: int
    num_unload_threads: int
    enable_serialization_as_tensor_content: bool
    enable_signature_method_name_check: bool
    enable_model_warmup: bool
    num_request_iterations_for_warmup: int
    saved_model_tags: str
    enable_batching: bool
    batching_parameters_file: Path | None
    prefer_tflite_model: bool
    operation_libraries: tuple[Path, ...]
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    first_load_seconds: float
    drain_seconds: float


def parse(argv: Sequence[str] | None = None) -> Flags:
    """The flags of a command line; prints what is wrong and exits with 2 where it cannot be understood."""
    parser = _Parser(prog="tensorflow_model_server", description=__doc__, allow_abbrev=False)
    _add_grpc(parser)
    _add_rest(parser)
    _add_models(parser)
    _add_loading(parser)
    _add_tensorflow(parser)
    ignored = parser.add_argument_group("accepted and ignored")
    for name in IGNORED:
        ignored.add_argument(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    values = vars(parser.parse_args(argv))
    del values["version"]
    for name in IGNORED:
        if (value := values.pop(name)) is not None:
            log.warning("--%s=%s is ignored: the built-in model server has nothing to set by it", name, value)
    if values.pop("use_alts_credentials"):
        parser.error("--use_alts_credentials is not supported; --ssl_config_file sets up TLS")
    flags = Flags(**values)
    if not flags.model_config_file and not flags.model_base_path:
        parser.error("one of --model_config_file and --model_base_path is needed")
    if not flags.port and not flags.grpc_socket_path:
        parser.error("--port=0 leaves no way to gRPC; set --grpc_socket_path, or another port")
    if problem := _contradiction(flags):
        parser.error(problem)
    return flags


class _Parser(argparse.ArgumentParser):
    """Names the flag that was probably meant."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        names = [option for action in self._actions for option in action.option_strings]
        close = [hint for each in unknown for hint in difflib.get_close_matches(each.partition("=")[0], names, n=1)]
        super().error(f"{message}; did you mean {close[0]}?" if close else message)


def _add_grpc(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("gRPC")
    add = group.add_argument
    add("--host", default="0.0.0.0", help="address to listen on, for gRPC and REST (not a flag of TF Serving)")
    add("--port", type=_port, default=8500, help="TCP port; 0: none, see --grpc_socket_path (default: %(default)s)")
    add(
        "--grpc_socket_path",
        default="",
        help="UNIX socket to listen on, besides the port; for this user and the group (mode 0660)",
    )
    add(
        "--management",
        choices=("all", "socket"),
        default="all",
        help="where reloads, the profiler, the configuration and metrics are answered over gRPC: everywhere, as TF "
        "Serving does, or on the UNIX socket only (not a flag of TF Serving; default: %(default)s)",
    )
    add(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        default=(),
        metavar="KEY=VALUE,...",
        help="options of gRPC's server, e.g. grpc.max_connection_age_ms=2000",
    )
    add(
        "--grpc_max_threads",
        type=_whole,
        default=0,
        help="predictions run at the same time, shared fairly among the models; the others wait; 0: 16, or two a model "
        "where that is more (default: %(default)s)",
    )
    add("--ssl_config_file", type=Path, default=None, help="SSLConfig in text format, with the keys in it: TLS")
    _add_switch(group, "--enable_profiler", "answer TensorFlow's profiler service on the same port", default=True)
    add("--use_alts_credentials", type=_boolean, nargs="?", const=True, default=False, help=argparse.SUPPRESS)


def _add_rest(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("REST")
    add = group.add_argument
    add("--rest_api_port", type=_port, default=0, help="TCP port of the REST API; 0: none (default: %(default)s)")
    add(
        "--rest_api_timeout_in_ms",
        type=_whole,
        default=30_000,
        help="milliseconds for a REST call (default: %(default)s)",
    )
    _add_switch(group, "--rest_api_enable_cors_support", "let pages of any origin call REST from a browser")
    add("--monitoring_config_file", type=Path, default=None, help="MonitoringConfig in text format: metrics over REST")


def _add_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("models").add_argument
    add("--model_name", default="default", help="name of the one model, where there is no --model_config_file")
    add("--model_base_path", default="", help="folder of that model's version directories")
    add("--model_config_file", type=Path, default=None, help="ModelServerConfig in text format")
    add(
        "--model_config_file_poll_wait_seconds",
        type=float,
        default=0.0,
        help="seconds between two polls of that file for changes; 0: it is read once (default: %(default)s)",
    )
    add(
        "--model_roots",
        type=_paths,
        default=(),
        metavar="PATH,...",
        help="load models below these folders only, and below those that hold the models of the start; symbolic links "
        "that lead out are rejected (not a flag of TF Serving; default: any folder)",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        help="seconds between two polls for new versions; 0 polls once (default: %(default)s)",
    )
    add(
        "--allow_version_labels_for_unavailable_models",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        help="a new label may point at a version that is not AVAILABLE",
    )


def _add_loading(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("loading").add_argument
    add(
        "--max_num_load_retries",
        type=_whole,
        default=5,
        help="times that a version which cannot be loaded is tried again while its files stay (default: %(default)s)",
    )
    add(
        "--load_retry_interval_micros",
        type=int,
        default=60_000_000,
        help="maximum pause before it is tried again; the first ones are shorter (default: %(default)s)",
    )
    add("--num_load_threads", type=_whole, default=0, help="versions loaded at the same time; 0: four (default: 0)")
    add("--num_unload_threads", type=_whole, default=0, help="versions closed at the same time; 0: four (default: 0)")
    add(
        "--first_load_seconds",
        type=float,
        default=60.0,
        help="the ports are opened when each model has loaded or failed, but not later than after these "
        "(not a flag of TF Serving; default: %(default)s)",
    )
    add(
        "--drain_seconds",
        type=float,
        default=20.0,
        help="seconds that calls in flight get at SIGTERM (not a flag of TF Serving; default: %(default)s)",
    )


def _add_tensorflow(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TensorFlow")
    add, switch = group.add_argument, partial(_add_switch, group)
    switch(
        "--enable_serialization_as_tensor_content",
        "answer numbers in tensor_content, which is faster, instead of float_val and the like",
    )
    switch(
        "--enable_signature_method_name_check", "reject Classify and Regress on signatures exported for another call"
    )
    switch("--enable_model_warmup", "answer a version's recorded requests before it is AVAILABLE", default=True)
    add("--num_request_iterations_for_warmup", type=int, default=1, help="times that each of them is answered")
    add("--saved_model_tags", default="serve", help="tags of the meta graph to load, with commas between them")
    switch("--enable_batching", "let requests that wait at the same moment share a run")
    add("--batching_parameters_file", type=Path, default=None, help="BatchingParameters in text format")
    switch("--prefer_tflite_model", "load a version's model.tflite, where it has one, instead of its SavedModel")
    add(
        "--operation_libraries",
        type=_paths,
        default=(),
        metavar="PATH,...",
        help="shared libraries with operations that TensorFlow lacks, as tf.load_op_library takes them "
        "(not a flag of TF Serving)",
    )
    add("--tensorflow_session_parallelism", type=int, default=0, help="sets the next two, where neither is set")
    add("--tensorflow_intra_op_parallelism", type=int, default=0, help="threads inside one operation; 0: the cores")
    add("--tensorflow_inter_op_parallelism", type=int, default=0, help="operations at once; 0: the cores if long")
    add("--version", action=_Version, nargs=0, help="print the version and exit")


class _Version(argparse.Action):
    """Prints the versions in TF Serving's form, which scripts look for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        version = f"{__version__} (wsgiapp)"
        print(texts.SERVER_VERSION.format(version=version, tensorflow=metadata.version("tensorflow")))
        parser.exit()


def _contradiction(flags: Flags) -> str:
    """What is wrong with a pair of flags, in TF Serving's texts; empty where nothing is."""
    if flags.batching_parameters_file and not flags.enable_batching:
        return f"{texts.BATCHING_NOT_ENABLED} Add --enable_batching, or leave --batching_parameters_file out."
    if flags.management == "socket" and not flags.grpc_socket_path:
        return "--management=socket needs --grpc_socket_path: without it nothing could be managed"
    ops = (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if flags.tensorflow_session_parallelism > 0 and all(threads > 0 for threads in ops):
        return texts.PARALLELISM_CONFLICT
    return ""


def _add_switch(group: argparse._ArgumentGroup, name: str, text: str, *, default: bool = False) -> None:
    """A flag that `--name`, `--name=true` and `--name=1` turn on, `--name=false` and `--name=0` off."""
    group.add_argument(name, type=_boolean, nargs="?", const=True, default=default, help=text)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(each).absolute() for each in text.split(",") if each)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """`k=v,k=v`; as in TF Serving, a value that is a whole number is passed as one."""
    arguments: list[tuple[str, int | str]] = []
    for each in filter(None, text.split(",")):
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise argparse.ArgumentTypeError(f"{each!r} is not KEY=VALUE")
        is_number = value.removeprefix("-").isdecimal() and value.isascii()
        arguments.append((key, int(value) if is_number else value))
    return tuple(arguments)
