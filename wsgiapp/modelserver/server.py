"""The model server's process: models -> gRPC -> drain."""

import logging
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from wsgiapp.modelconfig import ModelConfig
from wsgiapp.modelserver.flags import Flags
from wsgiapp.modelserver.manager import Manager
from wsgiapp.modelserver.servable import Servable
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
    manager = Manager(
        models,
        lambda path: _load(flags, path),
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


def _load(flags: Flags, path: Path) -> Servable:
    return Servable(
        path,
        intra_op_threads=flags.tensorflow_intra_op_parallelism,
        inter_op_threads=flags.tensorflow_inter_op_parallelism,
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
    add_prediction_service(
        PredictionService(manager, tensor_content=flags.enable_serialization_as_tensor_content), server
    )
    add_model_service(ModelService(manager), server)
    server.add_insecure_port(f"{flags.host}:{flags.port}")
    return server
