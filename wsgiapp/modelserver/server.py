"""The model server's process: models -> gRPC -> drain."""

import logging
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc

from wsgiapp.modelconfig import ModelConfig
from wsgiapp.modelserver.batching import BatchScheduler
from wsgiapp.modelserver.batching_parameters import read_parameters
from wsgiapp.modelserver.flags import Flags
from wsgiapp.modelserver.loading import LoadOptions, load
from wsgiapp.modelserver.manager import Manager
from wsgiapp.modelserver.servable import InferenceOptions
from wsgiapp.modelserver.services import ModelService, PredictionService
from wsgiapp.protos import add_model_service, add_prediction_service

log = logging.getLogger(__name__)


def serve(flags: Flags, models: Mapping[str, ModelConfig]) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    The port is opened after the first load, as TF Serving does, so that a client that gets through gets answers.
    Raises `RuntimeError` for a port that is taken.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    options = _load_options(flags)
    manager = Manager(
        models,
        partial(load, options=options),
        poll_seconds=flags.file_system_poll_wait_seconds,
        longest_retry_seconds=flags.load_retry_interval_micros / 1e6,
    )
    manager.start()
    server = _grpc_server(flags, manager)
    server.start()
    log.info("serving gRPC on %s:%d", flags.host, flags.port)
    stop.wait()
    log.info("draining for at most %.0f s", flags.drain_seconds)
    server.stop(flags.drain_seconds).wait()
    manager.stop()


def _load_options(flags: Flags) -> LoadOptions:
    """Raises `SettingsError` for a file of batching parameters that is not one."""
    scheduler = None
    if flags.enable_batching:
        scheduler = BatchScheduler(read_parameters(flags.batching_parameters_file))
    threads = (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if not any(threads):
        threads = (flags.tensorflow_session_parallelism, flags.tensorflow_session_parallelism)
    return LoadOptions(
        intra_op_threads=threads[0],
        inter_op_threads=threads[1],
        prefer_tflite=flags.prefer_tflite_model,
        scheduler=scheduler,
        inference=_inference_options(flags),
    )


def _inference_options(flags: Flags) -> InferenceOptions:
    return InferenceOptions(
        tensor_content=flags.enable_serialization_as_tensor_content,
        check_method_names=flags.enable_signature_method_name_check,
    )


def _grpc_server(flags: Flags, manager: Manager) -> grpc.Server:
    server = grpc.server(
        ThreadPoolExecutor(max_workers=flags.grpc_max_threads, thread_name_prefix="call"),
        options=[
            ("grpc.max_receive_message_length", -1),  # as TF Serving: the gateway has limits, the model server none
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share of its calls
        ],
    )
    add_prediction_service(PredictionService(manager, _inference_options(flags)), server)
    add_model_service(ModelService(manager), server)
    server.add_insecure_port(f"{flags.host}:{flags.port}")
    return server
